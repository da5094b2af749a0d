// Connects the buttons beside the slider and the keys with the controls of the page; keys are ignored while text is typed.
// Holds clicks on a picture that is still loading.
(() => {
  const click = (selector) => {
    const element = document.querySelector(selector);
    if (element && !element.disabled) element.click();
  };
  const move = (range, frame) => {
    range.value = frame;
    range.dispatchEvent(new Event("input", { bubbles: true }));
  };
  let again;
  const step = (frames) => {
    const range = document.querySelector("#slider input[type=range]");
    if (range.disabled) return;
    clearTimeout(again);
    const before = range.value;
    const frame = Number(before) + frames;
    move(range, frame);
    if (range.value === before) return; // there is no frame further on
    const asked = range.value;
    // If the answer to a step before arrives meanwhile, the slider is back there: ask until the frame is shown.
    const insist = (times) => {
      if (!times || document.querySelector("#state").textContent.includes(`Frame ${asked} of`)) return;
      if (range.value !== asked) move(range, asked);
      again = setTimeout(insist, 300, times - 1);
    };
    again = setTimeout(insist, 300, 20);
  };
  const keys = {
    i: () => click("#tool label:nth-of-type(1) input"),
    o: () => click("#tool label:nth-of-type(2) input"),
    b: () => click("#tool label:nth-of-type(3) input"),
    n: () => click("#new"),
    z: () => click("#undo"),
    g: () => click("#gone"),
    t: () => click("#track"),
    s: () => click("#stop"),
    r: () => click("#backwards"),
    w: () => click("#both"),
    e: () => click("#between"),
  };
  // Whatever the user does next counts more than the step before.
  for (const kind of ["pointerdown", "keydown"]) document.addEventListener(kind, () => clearTimeout(again), true);
  document.addEventListener("click", (event) => {
    if (event.target.closest("#back")) step(-1);
    if (event.target.closest("#forward")) step(1);
  });
  // Every answer brings a new picture, and the framework drops a click on one that is not loaded yet.
  document.addEventListener("click", (event) => {
    const frame = event.target.closest("#picture, #photo");
    if (!frame || frame.querySelector("img")?.naturalWidth) return;
    event.stopPropagation();
    const { clientX, clientY } = event;
    const again = () => {
      const image = frame.querySelector("img");
      if (image?.naturalWidth) image.dispatchEvent(new MouseEvent("click", { bubbles: true, clientX, clientY }));
      else if (frame.isConnected) requestAnimationFrame(again);
    };
    again();
  }, true);
  document.addEventListener("keydown", (event) => {
    const field = event.target;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (field.matches("textarea, input:not([type=radio]):not([type=range])")) return;
    const arrow = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    let action = keys[event.key.toLowerCase()];
    if (arrow) action = () => step(arrow * (event.shiftKey ? 10 : 1));
    if (/^[1-9]$/.test(event.key)) action = () => click(`#objects label:nth-of-type(${event.key}) input`);
    if (!action) return;
    event.preventDefault();
    event.stopPropagation();
    action();
  }, true);
})();
