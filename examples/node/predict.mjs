// Reads photographs with a bundle: node predict.mjs BUNDLE IMAGE... prints a JSON object for each.
//
// The manifest says all that is needed: input size, names, operating points. Normalisation is in the graph.
// JPEGs are decoded whole here; biounet-edge decodes those with 1600 pixels and more on the short side at reduced
// scale, which changes their probabilities by some thousandths (docs/embedding.md).

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import * as ort from "onnxruntime-node";
import sharp from "sharp";
import { stretchArea } from "./resize.mjs";

const SAME_WITHIN = 3; // grey levels

/**
 * Loads the graph of a level.
 *
 * @param {string} folder The bundle.
 * @param {string} level "classify", "cam" or "full".
 * @returns {Promise<{manifest: object, session: ort.InferenceSession}>}
 */
export async function openBundle(folder, level = "classify") {
  const manifest = JSON.parse(await readFile(join(folder, "manifest.json"), "utf8"));
  if (![1, 2].includes(manifest.format)) {
    throw new Error(`expected a bundle of format 1 or 2, got format ${manifest.format}`);
  }
  if (!(level in manifest.levels)) throw new Error(`the bundle has no level ${level}`);
  const session = await ort.InferenceSession.create(join(folder, manifest.levels[level].graphs.float32));
  return { manifest, session };
}

/**
 * Decodes a photograph as the network was trained to see it: upright, 8 bits, sRGB.
 *
 * @param {string | Buffer} source Path of an image file, or its bytes.
 * @returns {Promise<{data: Buffer, info: {width: number, height: number}}>} RGB values and their size.
 */
export async function decode(source) {
  const read = (ignoreIcc) =>
    sharp(source, { autoOrient: true, ignoreIcc, failOn: "warning" })
      .removeAlpha()
      .toColourspace("srgb")
      .raw()
      .toBuffer({ resolveWithObject: true });
  const stored = await read(true);
  if (!(await sharp(source).metadata()).icc) return stored;
  // A profile that hardly changes a colour is a copy of sRGB: then the values stay as they are.
  const converted = await read(false);
  const changes = stored.data.some((value, i) => Math.abs(value - converted.data[i]) > SAME_WITHIN);
  return changes ? converted : stored;
}

/**
 * Reads one photograph.
 *
 * @param {{manifest: object, session: ort.InferenceSession}} bundle From openBundle.
 * @param {string | Buffer} source Path of an image file, or its bytes.
 * @returns {Promise<object>} Probabilities, contributions and decisions; null where only the probability counts.
 *   Of a photograph that is unlike those of the training only that it is: "unfamiliar".
 */
export async function predict({ manifest, session }, source) {
  const { name, height, width } = manifest.input;
  const { data, info } = await decode(source);
  const pixels = stretchArea(data, [info.height, info.width], [height, width]);
  const outputs = await session.run({ [name]: new ort.Tensor("uint8", pixels, [1, height, width, 3]) });
  const familiarity = outputs.familiarity?.data[0] ?? null; // null: this bundle cannot judge
  const known = Number.isFinite(familiarity) && familiarity >= manifest.familiarity?.threshold;
  if (manifest.familiarity && !known) {
    return { width: info.width, height: info.height, status: "unfamiliar", familiarity };
  }
  const melanoma = outputs.melanoma_probability.data[0];
  return {
    width: info.width,
    height: info.height,
    melanoma_probability: melanoma,
    melanoma: melanoma >= manifest.melanoma.threshold,
    melanoma_bias: manifest.melanoma.bias,
    melanoma_temperature: manifest.melanoma.temperature,
    indicators: Object.fromEntries(
      manifest.indicators.map((indicator, j) => {
        const probability = outputs.indicator_probability.data[j];
        const threshold = manifest.operating_points[indicator].presence;
        const present = threshold === null ? null : probability >= threshold; // null: probability only
        return [indicator, { probability, present, contribution: outputs.melanoma_contribution.data[j] }];
      }),
    ),
  };
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const [folder, ...images] = process.argv.slice(2);
  if (images.length === 0) {
    console.error("usage: node predict.mjs BUNDLE IMAGE...");
    process.exit(2);
  }
  const bundle = await openBundle(folder);
  if (bundle.manifest.notice) console.error(bundle.manifest.notice);
  for (const image of images) {
    console.log(JSON.stringify({ image, ...(await predict(bundle, image)) }));
  }
}
