/* Draws points with WebGL: a place and two bytes for each, which stay on the graphics card. */
const VERTEX = `#version 300 es
in vec2 place; in float code; in float chosen;
uniform vec2 middle, span; uniform float size; uniform sampler2D palette;
out vec4 colour;
void main() {
  gl_Position = vec4((place - middle) * span, 0.0, 1.0);
  gl_PointSize = size;
  colour = vec4(texelFetch(palette, ivec2(int(code), 0), 0).rgb, chosen > 0.5 ? 0.88 : 0.13);
}`;
const FRAGMENT = `#version 300 es
precision highp float;
in vec4 colour; uniform float size; out vec4 shown;
void main() {
  float away = length(gl_PointCoord - 0.5) * size;
  float alpha = colour.a * (1.0 - smoothstep(size * 0.5 - 1.2, size * 0.5, away));
  if (alpha <= 0.0) discard;
  shown = vec4(colour.rgb * alpha, alpha);
}`;

const SOFTWARE = /swiftshader|llvmpipe|softpipe|software|basic render/i; // names of graphics cards that are none
const cardOf = (gl) => {
  const known = gl.getExtension("WEBGL_debug_renderer_info");
  return String(gl.getParameter(known ? known.UNMASKED_RENDERER_WEBGL : gl.RENDERER));
};

export class WebglPoints {
  /* Null where the browser has no WebGL 2, or only one that the CPU computes. */
  static on(canvas) {
    const probe = document.createElement("canvas").getContext("webgl2", { failIfMajorPerformanceCaveat: true });
    if (!probe || SOFTWARE.test(cardOf(probe))) return null;
    const gl = canvas.getContext("webgl2", { antialias: false, premultipliedAlpha: true });
    return gl && new WebglPoints(gl);
  }
  get finest() { return 2; }
  constructor(gl) {
    this.gl = gl;
    this.lost = false;
    gl.canvas.addEventListener("webglcontextlost", (event) => { event.preventDefault(); this.lost = true; });
    gl.canvas.addEventListener("webglcontextrestored", () => {
      this.lost = false;
      this.prepare();
      if (this.data) this.set(this.data);
      this.restored?.();
    });
    this.prepare();
  }
  prepare() {
    const { gl } = this;
    const program = gl.createProgram();
    for (const [type, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(type);
      gl.shaderSource(shader, text);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    gl.useProgram(program);
    this.uniforms = Object.fromEntries(["middle", "span", "size"].map((name) => [name, gl.getUniformLocation(program, name)]));
    this.buffers = {};
    for (const [name, size, type] of [["place", 2, gl.FLOAT], ["code", 1, gl.UNSIGNED_BYTE], ["chosen", 1, gl.UNSIGNED_BYTE]]) {
      const at = gl.getAttribLocation(program, name);
      this.buffers[name] = gl.createBuffer();
      gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[name]);
      gl.enableVertexAttribArray(at);
      gl.vertexAttribPointer(at, size, type, false, 0, 0);
    }
    this.buffers.order = gl.createBuffer();
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, this.buffers.order);
    gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
    for (const side of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, side, gl.NEAREST);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  }
  /* Any of: places Float32 [n, 2], codes, chosen Uint8 [n], order Uint32 [n], palette Uint8 [256, 4]. */
  set(data) {
    const { gl } = this;
    this.data = { ...this.data, ...data };
    const fill = (name, target, values) => {
      gl.bindBuffer(target, this.buffers[name]);
      gl.bufferData(target, values, gl.STATIC_DRAW);
    };
    if (data.places) fill("place", gl.ARRAY_BUFFER, data.places);
    if (data.codes) fill("code", gl.ARRAY_BUFFER, data.codes);
    if (data.chosen) fill("chosen", gl.ARRAY_BUFFER, data.chosen);
    if (data.order) fill("order", gl.ELEMENT_ARRAY_BUFFER, data.order);
    if (data.palette) gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, 256, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, data.palette);
  }
  draw(view, radius, ratio) {
    const { gl } = this;
    if (this.lost) return;
    gl.viewport(0, 0, gl.canvas.width, gl.canvas.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.uniform2f(this.uniforms.middle, ...view.toPlane(view.width / 2, view.height / 2));
    gl.uniform2f(this.uniforms.span, (2 * view.spanX) / view.width, (2 * view.spanY) / view.height);
    gl.uniform1f(this.uniforms.size, 2 * radius * ratio);
    gl.drawElements(gl.POINTS, this.data.order.length, gl.UNSIGNED_INT, 0);
  }
}
