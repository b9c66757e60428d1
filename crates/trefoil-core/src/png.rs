//! Text inside PNG files: the settings of a picture travel with it.

use std::io::Cursor;

use crate::error::{Error, Result};
use crate::image::Picture;

/// Encodes a picture as PNG with text fields (`iTXt`, so any Unicode text is allowed).
///
/// # Errors
/// [`Error::Image`] when a keyword is not 1 to 79 Latin-1 characters.
pub fn encode(picture: &Picture, texts: &[(&str, &str)]) -> Result<Vec<u8>> {
    let fail = |e: png::EncodingError| Error::Image { name: "PNG".into(), reason: e.to_string() };
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, picture.width(), picture.height());
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    for (keyword, text) in texts {
        encoder.add_itxt_chunk((*keyword).to_string(), (*text).to_string()).map_err(fail)?;
    }
    let mut writer = encoder.write_header().map_err(fail)?;
    writer.write_image_data(picture.pixels()).map_err(fail)?;
    writer.finish().map_err(fail)?;
    Ok(bytes)
}

/// All text fields of a PNG file (`tEXt`, `zTXt` and `iTXt`), in the order of the file.
///
/// # Errors
/// [`Error::Image`] when it is not a PNG file; `name` is used in the message.
pub fn texts(bytes: &[u8], name: &str) -> Result<Vec<(String, String)>> {
    let fail = |reason: String| Error::Image { name: name.into(), reason };
    let mut reader =
        png::Decoder::new(Cursor::new(bytes)).read_info().map_err(|e| fail(e.to_string()))?;
    // Text may also follow the pixels.
    reader.finish().map_err(|e| fail(e.to_string()))?;
    let info = reader.info();
    let mut out: Vec<(String, String)> = Vec::new();
    for chunk in &info.uncompressed_latin1_text {
        out.push((chunk.keyword.clone(), chunk.text.clone()));
    }
    for chunk in &info.compressed_latin1_text {
        out.push((chunk.keyword.clone(), chunk.get_text().map_err(|e| fail(e.to_string()))?));
    }
    for chunk in &info.utf8_text {
        out.push((chunk.keyword.clone(), chunk.get_text().map_err(|e| fail(e.to_string()))?));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_pixels_round_trip() {
        let picture = Picture::new(2, 1, vec![1, 2, 3, 4, 5, 6]).unwrap();
        let bytes =
            encode(&picture, &[("parameters", "a cat 猫"), ("trefoil", "{\"seed\":1}")]).unwrap();
        assert_eq!(Picture::decode(&bytes, "x").unwrap(), picture);
        let read = texts(&bytes, "x").unwrap();
        assert_eq!(read[0], ("parameters".to_string(), "a cat 猫".to_string()));
        assert_eq!(read[1].1, "{\"seed\":1}");
        assert!(texts(b"GIF89a", "a.gif").unwrap_err().to_string().starts_with("a.gif is not"));
    }
}
