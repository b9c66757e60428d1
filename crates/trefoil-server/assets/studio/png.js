// PNG files: the texts inside, which is where a picture keeps its settings (section 11.3.3 of the specification).

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];

/** Bytes of base64. */
export function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
}

/** Base64 of bytes. */
export function base64Of(bytes) {
  let text = '';
  // A call has room for so many values only.
  for (let at = 0; at < bytes.length; at += 8192) {
    text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  }
  return btoa(text);
}

/** The texts of a PNG file by their keywords; compressed ones, which nobody writes, are left out. */
export function texts(bytes) {
  const found = new Map();
  if (!SIGNATURE.every((value, place) => bytes[place] === value)) return found;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const latin = new TextDecoder('latin1');
  for (let at = 8; at + 12 <= bytes.length;) {
    const length = view.getUint32(at);
    const kind = latin.decode(bytes.subarray(at + 4, at + 8));
    const data = bytes.subarray(at + 8, at + 8 + length);
    at += 12 + length;
    const end = data.indexOf(0);
    if (end < 1) continue;
    const keyword = latin.decode(data.subarray(0, end));
    if (kind === 'tEXt') found.set(keyword, latin.decode(data.subarray(end + 1)));
    if (kind === 'iTXt' && data[end + 1] === 0) {
      // Two flags, then language and translated keyword, each to its zero.
      const language = data.indexOf(0, end + 3);
      const translated = data.indexOf(0, language + 1);
      if (language > 0 && translated > 0) {
        found.set(keyword, new TextDecoder().decode(data.subarray(translated + 1)));
      }
    }
  }
  return found;
}
