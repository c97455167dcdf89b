// The theme that was chosen, before anything is drawn: modules come later.
document.documentElement.dataset.theme = localStorage.getItem("audio-pool.theme") ?? "auto";
