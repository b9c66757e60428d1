//! The one error of the routes; the only place that knows status codes.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use trefoil_core::Error as CoreError;
use uditsr::Error as ShopError;
use unidiffuser::pipeline::GenerateError;

use crate::store::StoreError;

/// Why a request has no other answer.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ApiError {
    /// Something in the request is not as it must be.
    #[error("{message}")]
    Invalid {
        /// What was expected, and what was found.
        message: String,
        /// The field, where it is one.
        field: Option<String>,
    },
    /// There is no such thing.
    #[error("there is no {what} `{id}`")]
    NotFound {
        /// Of which kind.
        what: &'static str,
        /// What was asked for.
        id: String,
    },
    /// There is no such address.
    #[error("there is nothing at {0}; GET /openapi.json lists what there is")]
    NoRoute(String),
    /// The address has other methods.
    #[error("the method {0} is not for this address")]
    Method(String),
    /// No token, or one that nobody knows.
    #[error("a token is needed: `Authorization: Bearer TOKEN`")]
    Unauthorized,
    /// The token does not allow this.
    #[error("{0}")]
    Forbidden(String),
    /// The body is longer than the server takes.
    #[error("the body is longer than {limit} bytes")]
    TooLarge {
        /// What it takes.
        limit: usize,
    },
    /// The body is of a kind that the address does not read.
    #[error("expected a body of the type {expected}, found `{found}`")]
    MediaType {
        /// What it reads.
        expected: &'static str,
        /// What came.
        found: String,
    },
    /// The body did not arrive in time.
    #[error("the body did not arrive within {0} seconds")]
    SlowBody(u64),
    /// The caller asks too often.
    #[error("too many requests; retry in {:.1} s", .0.as_secs_f64())]
    TooOften(Duration),
    /// The queue is full.
    #[error("the queue is full: {waiting} requests wait; retry in {} s", retry.as_secs())]
    Overloaded {
        /// How many wait.
        waiting: usize,
        /// When there should be room.
        retry: Duration,
    },
    /// It took longer than the server allows.
    #[error(
        "there was no result within {0} seconds; ask for fewer steps or pictures, or make it a job"
    )]
    Timeout(u64),
    /// It can be done, but not in the present state.
    #[error("{0}")]
    Conflict(String),
    /// A part of the server is not there now.
    #[error("{0}")]
    Unavailable(String),
    /// The request was cancelled.
    #[error("it was cancelled")]
    Cancelled,
    /// A mistake of the server.
    #[error("{0}")]
    Internal(String),
}

impl ApiError {
    /// [`ApiError::Invalid`] of a field.
    pub fn field(field: &str, message: impl std::fmt::Display) -> Self {
        let message = format!("`{field}`: {message}");
        Self::Invalid { message, field: Some(field.into()) }
    }

    /// The status code, and the kind and code of the body.
    fn parts(&self) -> (StatusCode, &'static str, &'static str) {
        let invalid = "invalid_request_error";
        match self {
            Self::Invalid { .. } => (StatusCode::BAD_REQUEST, invalid, "invalid_value"),
            Self::NotFound { .. } | Self::NoRoute(_) => {
                (StatusCode::NOT_FOUND, invalid, "not_found")
            }
            Self::Method(_) => (StatusCode::METHOD_NOT_ALLOWED, invalid, "method_not_allowed"),
            Self::Unauthorized => {
                (StatusCode::UNAUTHORIZED, "authentication_error", "invalid_token")
            }
            Self::Forbidden(_) => (StatusCode::FORBIDDEN, "permission_error", "forbidden"),
            Self::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, invalid, "too_large"),
            Self::MediaType { .. } => (StatusCode::UNSUPPORTED_MEDIA_TYPE, invalid, "media_type"),
            Self::SlowBody(_) => (StatusCode::REQUEST_TIMEOUT, invalid, "slow_body"),
            Self::TooOften(_) => (StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", "rate_limit"),
            Self::Overloaded { .. } => {
                (StatusCode::TOO_MANY_REQUESTS, "overloaded_error", "queue_full")
            }
            Self::Timeout(_) => (StatusCode::GATEWAY_TIMEOUT, "timeout_error", "timeout"),
            Self::Conflict(_) => (StatusCode::CONFLICT, invalid, "conflict"),
            Self::Cancelled => (StatusCode::CONFLICT, invalid, "cancelled"),
            Self::Unavailable(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "unavailable_error", "unavailable")
            }
            Self::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "server_error", "internal"),
        }
    }

    /// When it makes sense to ask again, in seconds.
    fn retry(&self) -> Option<u64> {
        match self {
            Self::TooOften(wait) | Self::Overloaded { retry: wait, .. } => {
                Some(wait.as_secs_f64().ceil().max(1.0) as u64)
            }
            Self::Unavailable(_) => Some(2),
            _ => None,
        }
    }

    /// The body: the envelope of OpenAI.
    pub fn body(&self) -> Value {
        let (_, kind, code) = self.parts();
        let field = match self {
            Self::Invalid { field, .. } => field.clone(),
            _ => None,
        };
        let mut error =
            json!({ "message": self.to_string(), "type": kind, "param": field, "code": code });
        if let Self::Overloaded { waiting, .. } = self {
            error["waiting"] = json!(waiting);
        }
        json!({ "error": error })
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, ..) = self.parts();
        if status.is_server_error() && status != StatusCode::SERVICE_UNAVAILABLE {
            tracing::error!("{self}");
        }
        let retry = self.retry();
        let mut response = crate::extract::json_response(status, &self.body());
        let headers = response.headers_mut();
        if let Some(retry) = retry {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(retry));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => Self::Unavailable(error.to_string()),
            other => Self::Internal(other.to_string()),
        }
    }
}

impl From<CoreError> for ApiError {
    fn from(error: CoreError) -> Self {
        match error {
            CoreError::Config { field, reason } => Self::field(&field, reason),
            CoreError::Image { .. } => {
                Self::Invalid { message: error.to_string(), field: Some("image".into()) }
            }
            CoreError::NonFinite { .. } => {
                Self::field("guidance", "the result is not finite; lower it")
            }
            other => Self::Internal(chain(&other)),
        }
    }
}

impl From<GenerateError> for ApiError {
    fn from(error: GenerateError) -> Self {
        match error {
            GenerateError::Model(error) => error.into(),
            GenerateError::Cancelled => Self::Cancelled,
            GenerateError::NonFinite { .. } => {
                Self::field("guidance", format!("{error}; lower it"))
            }
            GenerateError::Settings(_)
            | GenerateError::Missing { .. }
            | GenerateError::Unused { .. } => {
                Self::Invalid { message: error.to_string(), field: None }
            }
            other => Self::Internal(chain(&other)),
        }
    }
}

impl From<ShopError> for ApiError {
    fn from(error: ShopError) -> Self {
        match error {
            ShopError::Config { field, reason } => Self::field(&field, reason),
            other => Self::Internal(chain(&other)),
        }
    }
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
