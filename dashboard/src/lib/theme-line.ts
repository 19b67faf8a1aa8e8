/** In the document's head, before anything is painted. `useTheme` keeps the attribute afterwards. */
export const THEME_LINE =
  'try{const t=localStorage.getItem("supalove-theme");if(t==="light"||t==="dark")document.documentElement.dataset.theme=t}catch{}';
