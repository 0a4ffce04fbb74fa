//! `POST /v1/redrives`: what a redrive would send, and the redrive that sends exactly that.

use std::{collections::BTreeMap, sync::Arc};

use api::{Plan, Redrive};
use axum::{
    extract::{Extension, State},
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use common::{destination::Name, event::now, origin::Origin, status::Refusal};
use jiff::{SignedDuration, Timestamp};
use store::{Created, Idempotency, RedriveRequest, RedriveTerms, Refused, Selection};

use super::{earlier_fingerprint::earlier_fingerprint, event::event_to_send, examples, new_redrive::NewRedrive};
use crate::{
    http::{
        Api,
        edge::{
            body::Json,
            correlation::Correlated,
            headers::{IDEMPOTENCY_REPLAYED, IdempotencyKey},
            problem::{BODY, IDEMPOTENCY_KEY_REUSED, INVALID_REDRIVE, NOTHING_TO_REDRIVE, Problem, STORE, problems},
            response::json,
        },
    },
    views,
};

problems!(Refusals: BODY, STORE, [&INVALID_REDRIVE, &IDEMPOTENCY_KEY_REUSED, &NOTHING_TO_REDRIVE]);

/// The scope of redrives' keys, which are separate from those of orders.
const KEYS: &str = "redrives";

/// Send dead letters again
///
/// Sends each dead letter to the queue of its one destination, under the key it had. What it sends is fixed
/// at this moment: what fails later is not included. With `dry_run` nothing is sent, and the response shows
/// exactly what would be. Archived dead letters are included only if the filter asks for them or an id names
/// them. A dead letter whose key its destination may have forgotten is refused unless `force` is set.
#[utoipa::path(
    post,
    path = "/v1/redrives",
    tag = "redrives",
    params(IdempotencyKey),
    request_body(content = api::NewRedrive, content_type = "application/json", example = examples::new_redrive),
    responses(
        (status = 200, description = "What would be sent; nothing is.", body = Plan,
         content_type = "application/json", example = examples::plan),
        (status = 201, description = "The redrive is stored and starts.", body = Redrive,
         content_type = "application/json",
         headers(
             ("Location" = String, description = "The path of the redrive."),
             ("Idempotency-Replayed" = String,
              description = "`true` if an earlier request under the same key created the redrive.")
         ),
         example = examples::redrive),
        Refusals,
    ),
)]
pub(super) async fn create(
    State(api): State<Arc<Api>>,
    Extension(correlation_id): Correlated,
    IdempotencyKey(key): IdempotencyKey,
    Json(new): Json<NewRedrive>,
) -> Result<Response, Problem> {
    let idempotency = key.map(|key| idempotency(&api, key, &new));
    let body = body(&api, &new).await?;
    let NewRedrive { selection, dry_run, rate, concurrency, stop_after_failed_share, force, body: _, new_key } = new;
    let request = RedriveRequest { selection, origins: remembered(&api), force, new_key };
    if dry_run {
        let plan = api.desk.plan_redrive(request).await?;
        return json(StatusCode::OK, &views::redrive::plan(plan));
    }
    let terms = RedriveTerms { rate, concurrency, stop_after_failed_share, body, new_key, idempotency };
    let (redrive, replayed) = match api.desk.create_redrive(request, terms).await? {
        Created::New(redrive) => (redrive, false),
        Created::Replayed(redrive) => (redrive, true),
        Created::KeyReused => {
            let detail = "the idempotency key was used for another redrive";
            return Err(Problem::new(&IDEMPOTENCY_KEY_REUSED, detail));
        }
        Created::Nothing(refused) => return Err(Problem::new(&NOTHING_TO_REDRIVE, nothing(&refused))),
    };
    if !replayed {
        tracing::info!(redrive = %redrive.id, matched = redrive.matched, %correlation_id, "redrive created");
        api.wake.wake();
    }
    let location = format!("/v1/redrives/{}", redrive.id);
    let mut response = json(StatusCode::CREATED, &views::redrive::redrive(*redrive))?;
    if let Ok(location) = HeaderValue::try_from(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    if replayed {
        response.headers_mut().insert(&IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

fn idempotency(api: &Api, key: String, new: &NewRedrive) -> Idempotency {
    let idempotency = Idempotency::new(KEYS, key, new.fingerprint(), now(), api.limits.key_ttl);
    Idempotency { earlier_fingerprint: Some(earlier_fingerprint(new)), ..idempotency }
}

/// What the one dead letter of the redrive is sent with in place of its own body, if it is to be.
async fn body(api: &Api, new: &NewRedrive) -> Result<Option<Vec<u8>>, Problem> {
    let (Some(event), Selection::Ids(ids)) = (&new.body, &new.selection) else { return Ok(None) };
    let Some(id) = ids.first() else { return Ok(None) };
    let original = api.desk.dead_letter(*id).await?;
    original.map(|original| event_to_send(event, &original, new.new_key)).transpose()
}

/// Each origin, and since when its destination remembers the keys that it was called with.
fn remembered(api: &Api) -> BTreeMap<Origin, Option<Timestamp>> {
    let since = |name: &Name| {
        let ttl = api.key_ttls.get(name)?;
        now().checked_sub(SignedDuration::try_from(*ttl).ok()?).ok()
    };
    let destinations = api.destinations.iter().map(|name| (name.clone().into(), since(name)));
    destinations.chain([(Origin::Reports, None)]).collect()
}

/// Why there is nothing to send.
fn nothing(refused: &[Refused]) -> String {
    if refused.is_empty() {
        return "no dead letter matches".to_owned();
    }
    let reasons: Vec<_> = refused.iter().map(|of| format!("{} for {}", of.count, of.reason.as_str())).collect();
    let hint = if refused.iter().any(|of| of.reason == Refusal::KeyExpired) {
        "; with force they are sent although their key may have been forgotten"
    } else {
        ""
    };
    format!("every dead letter that matches is refused: {}{hint}", reasons.join(", "))
}
