// Lets a password be looked at while it is typed; without this script there is no button for it.
for (const button of document.querySelectorAll("button.show")) {
  const input = document.getElementById(button.getAttribute("aria-controls"));
  const turn = () => {
    input.type = input.type === "password" ? "text" : "password";
    const { other, otherLabel } = button.dataset;
    button.dataset.other = button.textContent;
    button.dataset.otherLabel = button.getAttribute("aria-label");
    button.textContent = other;
    button.setAttribute("aria-label", otherLabel);
  };
  button.addEventListener("click", turn);
  // Hidden again when it is sent, so that the browser keeps it as a password and not as a text.
  input.form.addEventListener("submit", () => input.type === "text" && turn());
  button.hidden = false;
}
