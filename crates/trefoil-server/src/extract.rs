//! From bytes to typed requests, and from values to responses.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Multipart, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::app::App;
use crate::error::ApiError;

/// Fields of forms whose text is never a number.
const TEXTS: [&str; 9] = [
    "prompt",
    "negative_prompt",
    "size",
    "user",
    "model",
    "response_format",
    "output_format",
    "query",
    "item",
];
const JSON: &str = "application/json";
const FORM: &str = "multipart/form-data";

/// A response of JSON.
pub(crate) fn json_response(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(bytes) => json_bytes(status, bytes),
        Err(error) => {
            let message =
                format!("{{\"error\":{{\"message\":\"{}\"}}}}", error.to_string().escape_default());
            json_bytes(StatusCode::INTERNAL_SERVER_ERROR, message.into_bytes())
        }
    }
}

/// A response of JSON that is there as bytes.
pub(crate) fn json_bytes(status: StatusCode, bytes: Vec<u8>) -> Response {
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static(JSON))];
    (status, kind, bytes).into_response()
}

/// A value as the response, 200 OK.
#[derive(Debug)]
pub(crate) struct Json<T>(pub(crate) T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        json_response(StatusCode::OK, &self.0)
    }
}

/// What the body of a request says, as JSON.
#[derive(Debug)]
pub(crate) struct Input<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<App> for Input<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let kind = content_type(&request);
        if !is_json(&kind) {
            return Err(ApiError::MediaType { expected: JSON, found: kind });
        }
        let (_, body) = collect(request, app).await?;
        Ok(Self(parse(&body)?))
    }
}

/// What the body of a request says, as JSON or as a form with files; files become base64, so both are one type.
#[derive(Debug)]
pub(crate) struct Form<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<App> for Form<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let kind = content_type(&request);
        let is_form = kind.starts_with(FORM);
        if !is_form && !is_json(&kind) {
            return Err(ApiError::MediaType {
                expected: "application/json or multipart/form-data",
                found: kind,
            });
        }
        let (parts, body) = collect(request, app).await?;
        if !is_form {
            return Ok(Self(parse(&body)?));
        }
        let request = Request::from_parts(parts, Body::from(body));
        let invalid = |message: String| ApiError::Invalid { message, field: None };
        let mut form = Multipart::from_request(request, app)
            .await
            .map_err(|error| invalid(error.body_text()))?;
        let mut fields = Map::new();
        while let Some(field) = form.next_field().await.map_err(|e| invalid(e.body_text()))? {
            let name = field.name().unwrap_or_default().to_owned();
            let is_file = field.file_name().is_some() || field.content_type().is_some();
            let bytes = field.bytes().await.map_err(|e| invalid(e.body_text()))?;
            let value = if is_file {
                Value::String(STANDARD.encode(&bytes))
            } else {
                let text = String::from_utf8(bytes.into());
                scalar(&name, text.map_err(|_| ApiError::field(&name, "expected UTF-8"))?)
            };
            add(&mut fields, &name, value)?;
        }
        from_value(Value::Object(fields)).map(Self)
    }
}

/// A text of a form as the type that its field has.
fn scalar(name: &str, text: String) -> Value {
    if TEXTS.contains(&name) {
        return Value::String(text);
    }
    match serde_json::from_str(&text) {
        Ok(value @ (Value::Number(_) | Value::Bool(_) | Value::Array(_))) => value,
        _ => Value::String(text),
    }
}

/// `name[]` is an entry of the list `name`; a single one of a field that is no list is the field itself.
fn add(fields: &mut Map<String, Value>, name: &str, value: Value) -> Result<(), ApiError> {
    match name.strip_suffix("[]") {
        Some(name) => match fields.entry(name).or_insert_with(|| Value::Array(Vec::new())) {
            Value::Array(list) => list.push(value),
            _ => return Err(ApiError::field(name, "it is given twice")),
        },
        None => {
            if fields.insert(name.to_owned(), value).is_some() {
                return Err(ApiError::field(name, "it is given twice"));
            }
        }
    }
    Ok(())
}

fn content_type(request: &Request) -> String {
    let kind = request.headers().get(header::CONTENT_TYPE);
    kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default().to_ascii_lowercase()
}

fn is_json(kind: &str) -> bool {
    kind.split(';').next().is_some_and(|kind| kind.trim() == JSON)
}

/// Reads the whole body, if it is short enough and comes in time.
async fn collect(request: Request, app: &App) -> Result<(Parts, Vec<u8>), ApiError> {
    let (parts, body) = request.into_parts();
    let limits = &app.config().limits;
    let limit = limits.body;
    let length = parts.headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > limit as u64) {
        return Err(ApiError::TooLarge { limit });
    }
    let seconds = limits.body_seconds;
    let body =
        tokio::time::timeout(Duration::from_secs(seconds), axum::body::to_bytes(body, limit));
    match body.await {
        Err(_) => Err(ApiError::SlowBody(seconds)),
        Ok(Err(error)) if chain_says(&error, "length limit") => Err(ApiError::TooLarge { limit }),
        Ok(Err(error)) => Err(ApiError::Invalid {
            message: format!("the body did not arrive whole: {error}"),
            field: None,
        }),
        Ok(Ok(bytes)) => Ok((parts, bytes.into())),
    }
}

fn chain_says(error: &dyn std::error::Error, what: &str) -> bool {
    crate::error::chain(error).contains(what)
}

/// Reads JSON; the error names the place of the field.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    // Through a value, so that a key that is given twice is the last one, as everywhere else in JSON.
    let value: Value = serde_json::from_slice(bytes).map_err(|error| {
        let message = format!("the body is not JSON: {error}");
        ApiError::Invalid { message, field: None }
    })?;
    from_value(value)
}

/// As [`parse`], of a value.
pub(crate) fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, ApiError> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let message = error.into_inner().to_string();
        if path == "." {
            return ApiError::Invalid { message, field: None };
        }
        ApiError::Invalid { message: format!("`{path}`: {message}"), field: Some(path) }
    })
}

/// The query string of a request.
#[derive(Debug)]
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match axum::extract::Query::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(query)) => Ok(Self(query)),
            Err(error) => Err(ApiError::Invalid { message: error.body_text(), field: None }),
        }
    }
}

/// The variable part of an address.
#[derive(Debug)]
pub(crate) struct Path(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Path {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match axum::extract::Path::<String>::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(text)) => Ok(Self(text)),
            Err(error) => Err(ApiError::Invalid { message: error.body_text(), field: None }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        #[serde(default)]
        n: u32,
    }

    #[derive(Debug, serde::Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        list: Vec<Inner>,
    }

    #[test]
    fn errors_name_the_place_and_what_is_allowed() {
        let message = |json: &str| parse::<Outer>(json.as_bytes()).unwrap_err().to_string();
        assert_eq!(
            message("{\"list\":[{},{\"m\":1}]}"),
            "`list[1].m`: unknown field `m`, expected `n`"
        );
        assert_eq!(
            message("{\"list\":[{\"n\":-1}]}"),
            "`list[0].n`: invalid value: integer `-1`, expected u32"
        );
        assert!(message("{\"list\":").starts_with("the body is not JSON"));
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(message(&deep).starts_with("the body is not JSON"));
    }

    #[test]
    fn texts_of_forms_get_the_type_of_their_field() {
        assert_eq!(scalar("prompt", "7".into()), Value::from("7"));
        assert_eq!(scalar("n", "7".into()), Value::from(7));
        assert_eq!(scalar("one_step", "true".into()), Value::from(true));
        assert_eq!(scalar("weights", "[0,0.5]".into()), serde_json::json!([0, 0.5]));
        let mut fields = Map::new();
        add(&mut fields, "images[]", "a".into()).unwrap();
        add(&mut fields, "images[]", "b".into()).unwrap();
        assert_eq!(fields["images"], serde_json::json!(["a", "b"]));
        add(&mut fields, "n", 1.into()).unwrap();
        assert!(add(&mut fields, "n", 1.into()).is_err());
    }
}
