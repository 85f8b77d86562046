// Which of the registrations of our hooks (`hooks.mjs`) is the newest one: the one above all others.
export const newest = { number: 0 };
