//! The description of all addresses, and a page that shows it. Neither needs anything from elsewhere.

use axum::Router;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::IntoResponse as _;
use axum::routing::get;

use crate::app::App;
use crate::extract::json_bytes;

/// The page.
const PAGE: &str = include_str!("../../assets/docs.html");

/// `/openapi.json` and `/docs`.
pub(super) fn router(document: Vec<u8>) -> Router<App> {
    let document = async move || json_bytes(StatusCode::OK, document.clone());
    let kind = HeaderValue::from_static("text/html; charset=utf-8");
    let page = async move || ([(header::CONTENT_TYPE, kind.clone())], PAGE).into_response();
    Router::new().route("/openapi.json", get(document)).route("/docs", get(page))
}
