// The photograph with everybody who was found: click to choose, paint to correct, drag joints.
// Lines are kept in pixels of the photograph and sent as numbers; the server paints them into its masks.
const canvas = element.querySelector('canvas');
const stage = element.querySelector('.picture-stage');
const ring = element.querySelector('.picture-ring');
const hint = element.querySelector('.picture-hint');
const brush = element.querySelector('[data-brush]');
const buttons = [...element.querySelectorAll('[data-tool]')];
const layer = document.createElement('canvas');
const photograph = new Image();
const COLOURS = { person: '#40a0ff', others: '#ffffff', keep: '#ff4d4d', joint: '#ffd400' };
const HINTS = {
  choose: 'Click the person to complete. Not outlined, or only in part? Drag a box round all that is visible of them.',
  add: 'Paint over what you can see of the person and is not blue yet.',
  erase: 'Paint over what is blue and does not belong to the person.',
  keep: 'Paint over places where nothing may be invented (red).',
  joint: 'Drag a joint to where it belongs, also where it is hidden.',
};
const NO_JOINTS = 'The method chosen reads no joints, so there are none to move. A diffusion preset does (under "More wishes").';
let tool = 'choose';
let current = null; // the stroke, the joint or the box under the pointer
let answers = 0; // how often the server has said what is to be seen
let history = []; // earlier [strokes, moved]

const state = () => props.value || null;
const radius = () => 3 * Math.pow(60, brush.value / 100) * state().width / 1000;
const change = (parts) => { props.value = { ...state(), ...parts }; draw(); };

function jointsOf(person) {
  const found = (state().people[person] || {}).joints || [];
  return found.map(([name, x, y]) => {
    const moved = state().moved.find((one) => one.person === person && one.joint === name);
    return moved ? { name, x: moved.x, y: moved.y } : { name, x, y };
  });
}

function shapeOf(person) {
  const path = new Path2D();
  for (const line of state().people[person].outline) {
    path.moveTo(line[0], line[1]);
    for (let i = 2; i < line.length; i += 2) path.lineTo(line[i], line[i + 1]);
    path.closePath();
  }
  return path;
}

// --- drawing ---

function fit() {
  const width = stage.clientWidth;
  if (!state() || !width) return;
  const high = Math.min(width * state().height / state().width, Math.max(420, window.innerHeight * 0.7));
  const shown = high * state().width / state().height;
  canvas.style.width = `${shown}px`;
  canvas.style.height = `${high}px`;
  canvas.width = layer.width = Math.round(shown * window.devicePixelRatio);
  canvas.height = layer.height = Math.round(high * window.devicePixelRatio);
}

function paintMask(pen, person, scale) {
  // The person's own layer: the outline filled, strokes added and taken away in their order.
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.clearRect(0, 0, layer.width, layer.height);
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.fillStyle = COLOURS.person;
  pen.fill(shapeOf(person), 'evenodd');
  for (const one of state().strokes) if (one.person === person && one.tool !== 'keep') paintStroke(pen, one);
}

function paintStroke(pen, one) {
  pen.globalCompositeOperation = one.tool === 'erase' ? 'destination-out' : 'source-over';
  pen.strokeStyle = one.tool === 'keep' ? COLOURS.keep : COLOURS.person;
  pen.lineWidth = 2 * one.radius;
  pen.lineCap = pen.lineJoin = 'round';
  pen.beginPath();
  pen.moveTo(one.points[0], one.points[1]);
  for (let i = 2; i < one.points.length; i += 2) pen.lineTo(one.points[i], one.points[i + 1]);
  if (one.points.length === 2) pen.lineTo(one.points[0] + 0.01, one.points[1]);
  pen.stroke();
  pen.globalCompositeOperation = 'source-over';
}

function draw() {
  const value = state();
  if (!value || !photograph.complete || !canvas.width) return;
  Object.assign(canvas.dataset, { people: value.people.length, chosen: value.chosen, strokes: value.strokes.length });
  const pen = canvas.getContext('2d'), mask = layer.getContext('2d');
  const scale = canvas.width / value.width, line = 2 * window.devicePixelRatio / scale;
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.drawImage(photograph, 0, 0, canvas.width, canvas.height);
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  value.people.forEach((_, person) => {
    if (person === value.chosen) return;
    const shape = shapeOf(person);
    pen.lineWidth = 2 * line; pen.strokeStyle = 'rgba(0,0,0,.6)'; pen.stroke(shape);
    pen.lineWidth = line; pen.strokeStyle = COLOURS.others; pen.stroke(shape);
  });
  drawBox(pen, line);
  if (value.chosen === null) return;
  const keeps = value.strokes.filter((one) => one.person === value.chosen && one.tool === 'keep');
  paintMask(mask, value.chosen, scale);
  stamp(pen, 0.5);
  if (keeps.length) {
    mask.setTransform(1, 0, 0, 1, 0, 0);
    mask.clearRect(0, 0, layer.width, layer.height);
    mask.setTransform(scale, 0, 0, scale, 0, 0);
    keeps.forEach((one) => paintStroke(mask, one));
    stamp(pen, 0.5);
  }
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  if (tool === 'joint') for (const joint of jointsOf(value.chosen)) drawJoint(pen, joint, line);
}

function drawBox(pen, line) {
  if (!current || !current.box) return;
  const [x0, y0, x1, y1] = current.box;
  pen.lineWidth = line; pen.strokeStyle = COLOURS.person;
  pen.strokeRect(x0, y0, x1 - x0, y1 - y0);
}

function stamp(pen, opacity) {
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.globalAlpha = opacity;
  pen.drawImage(layer, 0, 0);
  pen.globalAlpha = 1;
}

function drawJoint(pen, joint, line) {
  pen.beginPath();
  pen.arc(joint.x, joint.y, 3 * line, 0, 2 * Math.PI);
  pen.fillStyle = COLOURS.joint; pen.fill();
  pen.lineWidth = line / 2; pen.strokeStyle = '#000'; pen.stroke();
}

function say() {
  const noJoints = tool === 'joint' && state() && !state().reads_joints;
  const first = tool !== 'choose' && state() && state().chosen === null;
  hint.textContent = noJoints ? NO_JOINTS : first ? 'Choose a person first.' : HINTS[tool];
  buttons.forEach((one) => one.setAttribute('aria-pressed', one.dataset.tool === tool));
  canvas.style.cursor = tool === 'choose' ? 'pointer' : tool === 'joint' ? 'grab' : 'none';
}

// --- the pointer ---

function at(event) {
  const box = canvas.getBoundingClientRect(), value = state();
  return [(event.clientX - box.left) / box.width * value.width, (event.clientY - box.top) / box.height * value.height];
}

const rounded = (number) => Math.round(number * 10) / 10;

function choose(x, y) {
  const pen = layer.getContext('2d');
  pen.setTransform(1, 0, 0, 1, 0, 0);
  const person = state().people.findIndex((_, one) => pen.isPointInPath(shapeOf(one), x, y, 'evenodd'));
  if (person >= 0) { change({ chosen: person }); trigger('chosen', { person }); } else trigger('point', { x: rounded(x), y: rounded(y) });
}

canvas.addEventListener('pointerdown', (event) => {
  if (!state() || event.button) return;
  const [x, y] = at(event);
  if (tool !== 'choose' && state().chosen === null) return;
  canvas.setPointerCapture(event.pointerId);
  if (tool === 'choose') { current = { box: [x, y, x, y] }; return; }
  const before = [state().strokes, state().moved];
  if (tool === 'joint') {
    const reach = 14 * state().width / canvas.clientWidth;
    const near = jointsOf(state().chosen)
      .map((joint) => ({ joint, far: Math.hypot(joint.x - x, joint.y - y) }))
      .sort((one, other) => one.far - other.far)[0];
    if (!near || near.far > reach) return;
    current = { joint: near.joint.name };
  } else {
    current = { person: state().chosen, tool, radius: rounded(radius()), points: [rounded(x), rounded(y)] };
    change({ strokes: [...state().strokes, current] });
  }
  history.push(before);
});

canvas.addEventListener('pointermove', (event) => {
  if (!state()) return;
  const [x, y] = at(event);
  showRing(event);
  if (!current) return;
  if (current.box) {
    current.box.splice(2, 2, x, y);
    draw();
  } else if (current.joint) {
    const others = state().moved.filter((one) => one.person !== state().chosen || one.joint !== current.joint);
    change({ moved: [...others, { person: state().chosen, joint: current.joint, x: rounded(x), y: rounded(y) }] });
  } else {
    const n = current.points.length;
    if (Math.hypot(x - current.points[n - 2], y - current.points[n - 1]) < current.radius / 4) return;
    current = { ...current, points: [...current.points, rounded(x), rounded(y)] };
    change({ strokes: [...state().strokes.slice(0, -1), current] });
  }
});

function release() {
  const box = current && current.box;
  current = null;
  if (!box) return;
  const [x0, y0, x1, y1] = inside(box), least = 8 * state().width / canvas.clientWidth;
  if (x1 - x0 > least && y1 - y0 > least) trigger('box', { box: [x0, y0, x1, y1].map(rounded) });
  else choose(box[0], box[1]);
  draw();
}

function inside([x0, y0, x1, y1]) {
  const { width, height } = state(), kept = (number, most) => Math.min(Math.max(number, 0), most);
  return [kept(Math.min(x0, x1), width), kept(Math.min(y0, y1), height), kept(Math.max(x0, x1), width), kept(Math.max(y0, y1), height)];
}

canvas.addEventListener('pointerup', release);
canvas.addEventListener('pointercancel', () => { current = null; draw(); });
canvas.addEventListener('pointerleave', () => { ring.style.display = 'none'; });

function showRing(event) {
  const paints = ['add', 'erase', 'keep'].includes(tool) && state().chosen !== null;
  ring.style.display = paints ? 'block' : 'none';
  if (!paints) return;
  const box = stage.getBoundingClientRect(), size = 2 * radius() * canvas.clientWidth / state().width;
  ring.style.width = ring.style.height = `${size}px`;
  ring.style.left = `${event.clientX - box.left - size / 2}px`;
  ring.style.top = `${event.clientY - box.top - size / 2}px`;
}

// --- the tools ---

buttons.forEach((one) => one.addEventListener('click', () => { tool = one.dataset.tool; say(); draw(); }));
element.querySelector('[data-undo]').addEventListener('click', () => {
  const before = history.pop();
  if (before) change({ strokes: before[0], moved: before[1] });
});

function show() {
  if (!state()) return;
  if (!photograph.src.endsWith(state().picture)) { photograph.src = state().picture; history = []; tool = 'choose'; }
  canvas.dataset.answers = ++answers;
  fit(); say(); draw();
}

photograph.addEventListener('load', show);
new ResizeObserver(() => { fit(); draw(); }).observe(stage);
watch('value', show);
show();
