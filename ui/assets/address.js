/* The address: which tab is shown, which dialog over it, and the search that all tabs share. */
(() => {
  const FIELDS = window.csFields; // of a search; whatever else an address has is of its tab
  const TABS = ["search", "map", "curate", "classify", "learn"];
  const DIALOGS = ["why", "build"];
  let under = "search";

  const params = () => new URLSearchParams(location.search);
  /* The part of an address that is a search. */
  const searchOf = (search) =>
    new URLSearchParams([...new URLSearchParams(search)].filter(([key]) => FIELDS.includes(key))).toString();
  const at = () => {
    const tab = params().get("tab") || "search";
    if (DIALOGS.includes(tab)) return { tab: under, dialog: tab };
    under = TABS.includes(tab) ? tab : "search";
    return { tab: under, dialog: "" };
  };

  const address = (query, replace) => {
    const asked = new URLSearchParams(query);
    const theme = params().get("__theme");
    if (theme) asked.set("__theme", theme);
    const url = `${location.pathname}${asked.size ? `?${asked}` : ""}`;
    if (url === location.pathname + location.search) return;
    history[replace ? "replaceState" : "pushState"](replace ? history.state : {}, "", url);
  };
  /* Another search, in the tab or dialog that is shown. */
  const aim = (link, replace) => {
    const { tab, dialog } = at();
    const own = tab === "search" && !dialog ? [] : [...params()].filter(([key]) => !FIELDS.includes(key));
    address(new URLSearchParams([...own, ...new URLSearchParams(link)]), replace);
  };
  const navigate = () => window.dispatchEvent(new Event("cs:navigate"));
  const go = (query) => {
    cs.results.remember();
    address(query);
    navigate();
  };
  /* A tab or dialog, with the search that there is and fields of its own. */
  const show = (name, own = {}) => {
    const named = name === "search" ? {} : { tab: name };
    go(new URLSearchParams([...Object.entries({ ...named, ...own }), ...new URLSearchParams(cs.results.link)]));
  };
  /* A field of the tab's own, such as how the map is colored. */
  const own = (field, value) => {
    const asked = params();
    if (value) asked.set(field, value);
    else asked.delete(field);
    address(asked, true);
    navigate();
    return [];
  };

  /* A tab that a person chose becomes the address. One that opens without a click was opened by the
     address, perhaps by an older one, or is the first one, before Gradio hears of the address. */
  let clicked = false;
  document.addEventListener("click", (event) => {
    if (!event.isTrusted || !event.target.closest?.("#cs-tabs .tab-wrapper")) return;
    clicked = true;
    cs.results.remember(); // before anything moves
  }, true);
  const selected = (name) => {
    if (!clicked) return;
    clicked = false;
    if (at().tab !== name || at().dialog) show(name);
  };

  Object.assign(cs, { address, aim, at, go, navigate, own, searchOf, selected, show });
})();
