// Plays all stems of a job together. Each is an <audio> element of its own, so that nothing has to be held in memory
// whole; they start at one moment, and one that runs ahead or behind is led back, gently while it is near enough.
"use strict";

(() => {
  const TIGHT = 0.008; // seconds that nobody hears
  const LOST = 0.15; // further away than that it jumps
  const each = 200; // milliseconds between two looks

  const clock = (seconds) => {
    const whole = Math.floor(seconds);
    const two = (number) => String(number).padStart(2, "0");
    const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
    return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
  };

  function player(root) {
    const tracks = [...root.querySelectorAll("[data-stem]")].map((item) => ({
      item,
      audio: item.querySelector("audio"),
      head: item.querySelector(".head"),
      strip: item.querySelector(".strip"),
      mute: item.querySelector("[data-mute]"),
      solo: item.querySelector("[data-solo]"),
    }));
    const playButton = root.querySelector("[data-play]");
    const seek = root.querySelector("[data-seek]");
    const time = root.querySelector("[data-time]");
    const length = Number(seek.max);
    const leader = tracks[0].audio;
    let wanted = false; // to play
    let timer = 0;

    const pressed = (button) => button.getAttribute("aria-pressed") === "true";
    const going = () => tracks.filter(({ audio }) => !audio.ended);
    const ready = () => going().every(({ audio }) => audio.readyState >= HTMLMediaElement.HAVE_FUTURE_DATA && !audio.seeking);

    function hear() {
      const alone = tracks.some(({ solo }) => pressed(solo));
      for (const { item, audio, mute, solo } of tracks) {
        audio.muted = pressed(mute) || (alone && !pressed(solo));
        item.classList.toggle("quiet", audio.muted);
      }
    }

    function show() {
      const at = leader.currentTime;
      const text = `${clock(at)} / ${clock(length)}`;
      if (time.textContent !== text) time.textContent = text;
      if (document.activeElement !== seek || wanted) seek.value = String(at);
      seek.setAttribute("aria-valuetext", `${clock(at)} of ${clock(length)}`);
      for (const { head } of tracks) head.style.left = `${Math.min(100, (100 * at) / length)}%`;
    }

    function together() {
      for (const { audio } of tracks.slice(1)) {
        const behind = leader.currentTime - audio.currentTime;
        if (Math.abs(behind) > LOST) {
          audio.currentTime = leader.currentTime;
          audio.playbackRate = 1;
        } else {
          audio.playbackRate = Math.abs(behind) < TIGHT ? 1 : 1 + Math.max(-0.04, Math.min(0.04, behind));
        }
      }
    }

    function tick() {
      clearTimeout(timer);
      if (wanted && tracks.every(({ audio }) => audio.ended)) {
        wanted = false;
        label();
      }
      if (wanted && !ready()) {
        for (const { audio } of tracks) audio.pause(); // one has to be waited for: all wait
      } else if (wanted && going().some(({ audio }) => audio.paused)) {
        for (const { audio } of going()) { audio.playbackRate = 1; audio.play().catch(() => {}); }
      } else if (wanted) {
        together();
      }
      show();
      if (wanted) timer = setTimeout(tick, each);
    }

    function label() {
      playButton.textContent = wanted ? "Pause" : "Play";
    }

    function toggle() {
      wanted = !wanted;
      label();
      if (!wanted) {
        for (const { audio } of tracks) audio.pause();
        to(leader.currentTime);
      } else {
        if (leader.ended || leader.currentTime >= length) to(0);
        for (const { audio } of tracks) audio.preload = "auto";
        hear();
      }
      tick();
    }

    function to(at) {
      const place = Math.max(0, Math.min(at, length));
      for (const { audio } of tracks) {
        if (wanted) audio.pause();
        audio.currentTime = place;
      }
      tick();
    }

    for (const { audio, head, strip, mute, solo, item } of tracks) {
      audio.controls = false;
      audio.hidden = true;
      audio.preservesPitch = false;
      head.hidden = false;
      item.querySelector(".buttons").hidden = false;
      for (const button of [mute, solo]) {
        button.addEventListener("click", () => {
          button.setAttribute("aria-pressed", String(!pressed(button)));
          hear();
        });
      }
      strip.addEventListener("click", (event) => {
        const box = strip.getBoundingClientRect();
        to(((event.clientX - box.left) / box.width) * length);
      });
      audio.addEventListener("error", () => {
        if (!item.querySelector(".trouble")) {
          const trouble = document.createElement("p");
          trouble.className = "trouble";
          trouble.textContent = "✕ This browser cannot play it.";
          item.append(trouble);
        }
      });
    }
    root.querySelector(".transport").hidden = false;
    playButton.addEventListener("click", toggle);
    seek.addEventListener("input", () => to(Number(seek.value)));
    show();
  }

  function setUp() {
    for (const root of document.querySelectorAll("[data-player]:not([data-ready])")) {
      root.setAttribute("data-ready", "");
      player(root);
    }
  }

  document.addEventListener("stemd:fresh", setUp);
  setUp();
})();
