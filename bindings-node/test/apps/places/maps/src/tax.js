let rate = 0.2;

export const taxed = (net) => {
  const gross = net + net * rate;
  rate += 0.1;
  return gross;
};
