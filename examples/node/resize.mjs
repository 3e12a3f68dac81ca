// The resize rule "stretch-area": every output pixel is the mean of the input area that it covers.
//
// OpenCV computes it in 32-bit floats, and so does this: a mean that ends in .5 would otherwise be rounded the
// other way now and then, and a probability differ in its fourth decimal.

const { fround } = Math;

/**
 * Stretches an RGB image to a smaller size, as OpenCV's INTER_AREA does.
 *
 * @param {Uint8Array} pixels RGB, row by row, height * width * 3 values.
 * @param {[number, number]} from Height and width of the image.
 * @param {[number, number]} to Height and width wanted, neither above the image's.
 * @returns {Uint8Array} RGB of that size.
 */
export function stretchArea(pixels, [height, width], [rows, columns]) {
  if (height < rows || width < columns) {
    // OpenCV interpolates where it enlarges: another rule, which this example leaves out.
    throw new RangeError(`the photograph has ${width} x ${height} pixels, at least ${columns} x ${rows} are needed`);
  }
  // Whole scales are summed as integers and divided once; others by the weight of each pixel.
  const whole = height % rows === 0 && width % columns === 0;
  const across = coverage(width, columns, whole);
  const down = coverage(height, rows, whole);
  const divide = whole ? fround(1 / ((height / rows) * (width / columns))) : 1;

  const narrow = new Float32Array(height * columns * 3); // stretched in x only
  for (let y = 0; y < height; y++) {
    for (let column = 0; column < columns; column++) {
      const at = (y * columns + column) * 3;
      for (const [x, weight] of across[column]) {
        for (let c = 0; c < 3; c++) {
          narrow[at + c] += fround(weight * pixels[(y * width + x) * 3 + c]);
        }
      }
    }
  }
  const result = new Uint8Array(rows * columns * 3);
  for (let row = 0; row < rows; row++) {
    for (let i = 0; i < columns * 3; i++) {
      let sum = 0;
      for (const [y, weight] of down[row]) sum = fround(sum + fround(weight * narrow[y * columns * 3 + i]));
      result[row * columns * 3 + i] = roundHalfToEven(fround(sum * divide));
    }
  }
  return result;
}

/** Lists for each output pixel of one axis the input pixels under it and what part of it each of them is. */
function coverage(length, count, whole) {
  const scale = length / count;
  return Array.from({ length: count }, (_, i) => {
    const start = i * scale;
    const end = Math.min(start + scale, length);
    const parts = [];
    for (let x = Math.floor(start); x < end; x++) {
      const covered = Math.min(x + 1, end) - Math.max(x, start);
      if (covered > 1e-3) parts.push([x, whole ? 1 : fround(covered / scale)]); // OpenCV drops slivers too
    }
    return parts;
  });
}

function roundHalfToEven(value) {
  const floor = Math.floor(value);
  const rest = value - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor;
}
