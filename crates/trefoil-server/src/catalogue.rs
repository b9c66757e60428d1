//! Pictures of the items that came with the recommender.

use std::collections::HashMap;

use trefoil_core::{Picture, png};

use crate::config::Sheet;
use crate::error::{ApiError, chain};

/// Pictures in one large one.
#[derive(Debug, Default)]
pub(crate) struct Pictures {
    sheet: Option<(Picture, usize)>,
    places: HashMap<String, usize>,
}

impl Pictures {
    /// Reads a sheet, if there is one.
    pub(crate) fn open(sheet: Option<&Sheet>) -> Result<Self, ApiError> {
        let Some(Sheet { path, side, items }) = sheet else { return Ok(Self::default()) };
        let picture = Picture::open(path).map_err(|error| ApiError::Internal(chain(&error)))?;
        let places = items.iter().cloned().zip(0..).collect();
        Ok(Self { sheet: Some((picture, *side)), places })
    }

    /// Whether an item has a picture here.
    pub(crate) fn has(&self, item: &str) -> bool {
        self.places.contains_key(item)
    }

    /// The picture of an item, as PNG.
    pub(crate) fn png(&self, item: &str) -> Option<Vec<u8>> {
        let ((sheet, side), &place) = (self.sheet.as_ref()?, self.places.get(item)?);
        let width = sheet.width() as usize;
        let columns = width / side;
        let (x, y) = (place % columns * side, place / columns * side);
        let rows = sheet.pixels().chunks_exact(3 * width).skip(y).take(*side);
        let pixels = rows.flat_map(|row| &row[3 * x..3 * (x + side)]).copied().collect();
        let picture = Picture::new(*side as u32, *side as u32, pixels).ok()?;
        png::encode(&picture, &[]).ok()
    }
}
