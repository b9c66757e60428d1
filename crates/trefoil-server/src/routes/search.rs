//! Search, recommendations and similar items.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uditsr::recommender::{Answer, Filter, Order, PastEvent, RequestOptions};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::drawing::within;
use crate::error::ApiError;
use crate::extract::{Input, Json};
use crate::names::{check_id, check_words};
use crate::shop::Answered;

/// Items of an answer that does not say how many.
const USUAL: usize = 10;
/// Events of a request's history, and entries of a filter.
const MANY: usize = 1000;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(search)).routes(routes!(recommend)).routes(routes!(similar))
}

/// Which items may be answered; what is empty does not restrict.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct FilterBody {
    /// Items with at least one of these tags
    any_tag: Vec<String>,
    /// Items with all of these tags
    all_tags: Vec<String>,
    /// Items with none of these tags
    no_tag: Vec<String>,
    /// These items
    items: Vec<String>,
    /// Not these items
    not_items: Vec<String>,
}

/// Something that the user just did.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PastBody {
    /// The item
    item: String,
    /// The query that led to it
    #[serde(default)]
    query: String,
}

/// Declares a request with fields of its own and those that search and recommendation share.
macro_rules! request {
    ($(#[$about:meta])* $name:ident { $($(#[$note:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Deserialize, ToSchema)]
        #[serde(deny_unknown_fields)]
        pub(crate) struct $name {
            $($(#[$note])* $field: $type,)*
            /// The shop's id of the user [default: nobody in particular]
            user: Option<String>,
            /// Number of items [default: 10]
            #[schema(minimum = 1, maximum = 1000)]
            k: Option<usize>,
            /// Which items may be answered
            #[serde(default)]
            filter: FilterBody,
            /// Whether items that the user had to do with are left out [default: false of a search, true of a
            /// recommendation]
            exclude_seen: Option<bool>,
            /// From 0, the order of the scores, to 1, items as different as possible
            #[serde(default)]
            #[schema(minimum = 0, maximum = 1)]
            diversity: f64,
            /// What the user just did, oldest first; it counts, and is not kept
            #[serde(default)]
            history: Vec<PastBody>,
            /// Rank all items instead of candidates
            #[serde(default)]
            exact: bool,
            /// Say for each item why it is there
            #[serde(default)]
            explain: bool,
        }

        impl $name {
            /// The shared fields.
            fn parts(self) -> Parts {
                let Self { user, k, filter, exclude_seen, diversity, history, exact, explain, .. } = self;
                Parts { user, k, filter, exclude_seen, diversity, history, exact, explain }
            }
        }
    };
}

request! {
    /// A query.
    SearchRequest {
        /// What is looked for
        #[schema(example = "music")]
        query: String,
    }
}

request! {
    /// A user.
    RecommendRequest {}
}

/// An item.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SimilarRequest {
    /// The shop's id of the item
    #[schema(example = "1F3B8")]
    item: String,
    /// Number of items [default: 10]
    #[schema(minimum = 1, maximum = 1000)]
    k: Option<usize>,
    /// Which items may be answered
    #[serde(default)]
    filter: FilterBody,
    /// From 0, the order of the scores, to 1, items as different as possible
    #[serde(default)]
    #[schema(minimum = 0, maximum = 1)]
    diversity: f64,
}

/// Items, the best first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AnswerBody {
    /// The items
    pub(crate) hits: Vec<HitBody>,
    /// What is known of the user: `trained`, `recorded`, `session`, `stranger`
    #[schema(value_type = String)]
    user: Value,
    /// What put the items in order: `model`, `model-and-text`, `model-and-neighbours`, `text`, `popularity`, `similarity`
    #[schema(value_type = String)]
    order: Value,
    /// `everything`, or how many candidates were looked at
    #[schema(value_type = Object)]
    retrieval: Value,
    /// Words of the query that nothing has
    unmatched_terms: Vec<String>,
    /// Words of the query that only titles and tags were searched for
    text_only_terms: Vec<String>,
    /// The recommender that answered: `recommender` or `recommender-b`
    model: &'static str,
    /// SHA-256 of it
    fingerprint: String,
}

/// An item of an answer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HitBody {
    /// The shop's id
    item: String,
    /// Its title
    title: String,
    /// What it is ordered by: larger is better, comparable within an answer
    score: f64,
    /// Who proposed it: `model`, `text`, `both`, `popularity`
    #[schema(value_type = String)]
    source: Value,
    /// Whether it has no event, so that its vector comes from its words
    is_cold: bool,
    /// Whether `GET /v1/items/{id}/picture` has a picture
    has_picture: bool,
    /// Why it is there, if that was asked for and a model put it there
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    why: Option<Value>,
}

/// The parts of requests that mean the same in all of them.
#[derive(Default)]
struct Parts {
    user: Option<String>,
    k: Option<usize>,
    filter: FilterBody,
    exclude_seen: Option<bool>,
    diversity: f64,
    history: Vec<PastBody>,
    exact: bool,
    explain: bool,
}

impl Parts {
    /// Checked, as the library takes them.
    fn options(self, app: &App) -> Result<(Option<String>, usize, RequestOptions), ApiError> {
        let k = self.k.unwrap_or(USUAL);
        within("k", k, app.config().limits.items)?;
        if let Some(user) = &self.user {
            check_id("user", user)?;
        }
        let FilterBody { any_tag, all_tags, no_tag, items, not_items } = self.filter;
        let lists = [&any_tag, &all_tags, &no_tag, &items, &not_items];
        if self.history.len() > MANY || lists.iter().any(|list| list.len() > MANY) {
            let message = format!("expected at most {MANY} entries in `history` and each filter");
            return Err(ApiError::Invalid { message, field: Some("filter".into()) });
        }
        let past = |PastBody { item, query }| {
            check_words("history", &query)?;
            Ok(PastEvent { item, query })
        };
        let history = self.history.into_iter().map(past).collect::<Result<_, ApiError>>()?;
        let options = RequestOptions {
            filter: Filter { any_tag, all_tags, no_tag, items, not_items },
            exclude_seen: self.exclude_seen,
            diversity: self.diversity,
            history,
            exact: self.exact,
        };
        Ok((self.user, k, options))
    }
}

/// Makes the response, with explanations where they were asked for.
async fn body(
    app: &App,
    Answered { variant, answer }: Answered,
    explained: Option<(Option<String>, Option<String>, RequestOptions)>,
) -> Result<Json<AnswerBody>, ApiError> {
    // BM25 and popularity have no intents to tell of.
    let is_of_model =
        matches!(answer.order, Order::Model | Order::ModelAndText | Order::ModelAndNeighbours);
    let mut why = Vec::new();
    if let Some((user, query, options)) = explained.filter(|_| is_of_model) {
        let shop = app.shop()?;
        let items: Vec<String> = answer.hits.iter().map(|hit| hit.item.clone()).collect();
        let explain = move |recommender: &uditsr::Recommender| {
            let (user, query) = (user.as_deref(), query.as_deref());
            let one = |item: &String| recommender.explain_with(user, item, query, &options);
            items.iter().map(one).collect::<uditsr::Result<Vec<_>>>()
        };
        let slot = shop.slots().find(|(_, name)| *name == variant).map_or(0, |(slot, _)| slot);
        why = shop.with(shop.variant(slot), explain).await?;
    }
    let mut why = why.into_iter();
    let catalogue = app.shop()?.variant(0);
    let catalogue = catalogue.recommender.read();
    let Answer { hits, user, retrieval, order, unmatched_terms, text_only_terms, model } = answer;
    let mut bodies = Vec::with_capacity(hits.len());
    for hit in hits {
        let item = catalogue.item(&hit.item);
        let has_picture =
            app.pictures.has(&hit.item) || item.is_some_and(|item| item.picture.is_some());
        bodies.push(HitBody {
            has_picture,
            item: hit.item,
            title: hit.title,
            score: hit.score,
            source: json(&hit.source)?,
            is_cold: hit.is_cold,
            why: why.next().map(|why| json(&why)).transpose()?,
        });
    }
    Ok(Json(AnswerBody {
        hits: bodies,
        user: json(&user)?,
        order: json(&order)?,
        retrieval: json(&retrieval)?,
        unmatched_terms,
        text_only_terms,
        model: variant,
        fingerprint: model,
    }))
}

/// A value that serde writes.
pub(super) fn json(value: &impl Serialize) -> Result<Value, ApiError> {
    serde_json::to_value(value).map_err(|error| ApiError::Internal(error.to_string()))
}

/// Lets a recommender search, or recommend where there is no query.
async fn answer(
    app: &App,
    kind: &'static str,
    query: Option<String>,
    parts: Parts,
) -> Result<Json<AnswerBody>, ApiError> {
    let explain = parts.explain;
    let (user, k, options) = parts.options(app)?;
    let explained = explain.then(|| (user.clone(), query.clone(), options.clone()));
    let who = user.clone();
    let ask = move |shop: &uditsr::Recommender| match &query {
        Some(query) => shop.search(who.as_deref(), query, k, &options),
        None => shop.recommend(who.as_deref(), k, &options),
    };
    let answered = app.shop()?.ask(kind, user, ask).await?;
    body(app, answered, explained).await
}

/// Items for a query
#[utoipa::path(post, path = "/v1/search", tag = "shop", request_body = SearchRequest,
    responses((status = 200, body = AnswerBody)))]
async fn search(
    State(app): State<App>,
    Input(request): Input<SearchRequest>,
) -> Result<Json<AnswerBody>, ApiError> {
    let query = request.query.clone();
    check_words("query", &query)?;
    if app.config().logs_prompts {
        tracing::info!(query, "search");
    }
    answer(&app, "search", Some(query), request.parts()).await
}

/// Items for a user
#[utoipa::path(post, path = "/v1/recommend", tag = "shop", request_body = RecommendRequest,
    responses((status = 200, body = AnswerBody)))]
async fn recommend(
    State(app): State<App>,
    Input(request): Input<RecommendRequest>,
) -> Result<Json<AnswerBody>, ApiError> {
    answer(&app, "recommend", None, request.parts()).await
}

/// Items like an item
#[utoipa::path(post, path = "/v1/similar", tag = "shop", request_body = SimilarRequest,
    responses((status = 200, body = AnswerBody), (status = 400, description = "No such item")))]
async fn similar(
    State(app): State<App>,
    Input(request): Input<SimilarRequest>,
) -> Result<Json<AnswerBody>, ApiError> {
    let SimilarRequest { item, k, filter, diversity } = request;
    let parts = Parts { k, filter, diversity, ..Parts::default() };
    let (_, k, options) = parts.options(&app)?;
    let ask = move |shop: &uditsr::Recommender| shop.similar(&item, k, &options);
    let answered = app.shop()?.ask("similar", None, ask).await?;
    body(&app, answered, None).await
}
