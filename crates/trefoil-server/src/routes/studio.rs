//! The page for people. Its files are part of the program.

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::response::IntoResponse as _;
use axum::routing::get;

use crate::app::App;

/// Address, type and content of each file.
const FILES: &[(&str, &str, &[u8])] =
    &[("/", "text/html; charset=utf-8", include_bytes!("../../assets/studio/index.html"))];

/// A route for each file.
pub(super) fn router() -> Router<App> {
    FILES.iter().fold(Router::new(), |router, &(address, kind, content)| {
        let file = async move || {
            let kind = HeaderValue::from_static(kind);
            ([(header::CONTENT_TYPE, kind)], content).into_response()
        };
        router.route(address, get(file))
    })
}

/// Whether an address is one of the page, which everybody may see.
pub(crate) fn is_open(path: &str) -> bool {
    FILES.iter().any(|(address, ..)| *address == path)
}
