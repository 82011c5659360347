/* The job of adding images: a sign of it in the header, wherever the reader is, until it is over. */
(() => {
  let latest = null, timer = 0;
  const sign = () => document.getElementById("cs-working");

  const draw = () => {
    const box = sign();
    if (!box) return;
    const running = latest?.state === "running";
    box.hidden = !running;
    if (!running) return;
    const percent = latest.share === null ? "" : ` ${Math.floor(latest.share * 100)}\u00a0%`;
    box.style.setProperty("--share", latest.share ?? 0.1);
    box.querySelector("span").textContent = percent;
    box.setAttribute("aria-label", `${latest.told}${percent}`);
    box.title = box.getAttribute("aria-label");
  };
  const told = (job) => {
    const before = latest;
    latest = job;
    draw();
    clearTimeout(timer);
    if (job?.state === "running") timer = setTimeout(ask, 1000);
    else if (before?.state === "running" && job) over(job);
  };
  const over = (job) => {
    cs.header.known(job.indexes);
    cs.toast(job.told, job.state === "failed" ? "error" : "info");
    if (cs.results.isSearch() && job.name === cs.header.index()) cs.results.again();
  };
  const ask = () => cs.results.ask("job", new URLSearchParams()).then((answer) => told(answer.job), () => { timer = setTimeout(ask, 3000); });

  window.csStart.then((start) => told(start?.job ?? null));
  cs.job = { ask, draw, told };
})();
