//! `POST /v1/redrives`: what a redrive would send, and the redrive that sends exactly that.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use api::{Plan, Redrive};
use axum::{
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use common::{destination::Name, event::now, order::CorrelationId, origin::Origin};
use jiff::{SignedDuration, Timestamp};

use super::{
    Accept, Api, Show, body,
    call::{Call, json_answer},
    edited_body::edited_body,
    headers::{self, IDEMPOTENCY_REPLAYED},
    new_redrive::NewRedrive,
    openapi,
    problem::{
        BODY_TOO_LARGE, BUSY, IDEMPOTENCY_KEY_REUSED, INTERNAL, INVALID_HEADER, INVALID_REDRIVE, Kind, MALFORMED_JSON,
        NESTED_TOO_DEEPLY, NOTHING_TO_REDRIVE, Problem, REQUEST_TIMEOUT, STORE_UNAVAILABLE, UNREADABLE_BODY,
        UNSUPPORTED_MEDIA_TYPE,
    },
    redrives::failed,
};
use crate::{redrive::Wake, views};
use store::{Created, Refused, Selection, Terms, Wish};

/// What redrives need beside the desk.
#[derive(Clone, Debug, Default)]
pub struct Redriving {
    /// Tells the runner of what was asked.
    pub wake: Wake,
    /// How long each destination remembers a key; for ever where there is nothing.
    pub key_ttls: BTreeMap<Name, Duration>,
}

/// Every way to refuse a new one.
pub(super) static CREATE_PROBLEMS: [&Kind; 13] = [
    &INVALID_HEADER,
    &UNREADABLE_BODY,
    &MALFORMED_JSON,
    &NESTED_TOO_DEEPLY,
    &REQUEST_TIMEOUT,
    &BODY_TOO_LARGE,
    &UNSUPPORTED_MEDIA_TYPE,
    &INVALID_REDRIVE,
    &IDEMPOTENCY_KEY_REUSED,
    &NOTHING_TO_REDRIVE,
    &BUSY,
    &STORE_UNAVAILABLE,
    &INTERNAL,
];

/// Send dead letters again
///
/// Sends each dead letter to the queue of its one destination, under the key it had. What it
/// sends is fixed at this moment: what fails later is not in it. With `dry_run` nothing is sent, and the
/// answer tells exactly what would be. Archived dead letters are taken only where the filter asks for
/// them or an id names them. A dead letter whose key may have been forgotten by its destination is
/// refused unless `force`.
#[utoipa::path(
    post,
    path = "/v1/redrives",
    tag = "redrives",
    params(
        ("Idempotency-Key" = Option<String>, Header, nullable = false, min_length = 1, max_length = 512,
         description = "Makes it safe to send the request again."),
        ("X-Correlation-ID" = Option<String>, Header, nullable = false, min_length = 1, max_length = 128,
         pattern = "^[!-~]*$",
         description = "The client's name for this request; one is made where it is absent."),
    ),
    request_body(content = api::NewRedrive, content_type = "application/json",
                 example = openapi::new_redrive_example),
    responses(
        (status = 200, description = "What would be sent; nothing is.", body = Plan,
         content_type = "application/json",
         headers(("X-Correlation-ID" = String, description = "The correlation id of this request.")),
         example = openapi::plan_example),
        (status = 201, description = "The redrive is stored and begins.", body = Redrive,
         content_type = "application/json",
         headers(
             ("Location" = String, description = "Where the redrive is shown."),
             ("X-Correlation-ID" = String, description = "The correlation id of this request."),
             ("Idempotency-Replayed" = String,
              description = "`true` where the redrive was created by an earlier request under the same key.")
         ),
         example = openapi::redrive_example),
    ),
)]
pub(super) async fn create<A: Accept, S: Show>(State(api): State<Arc<Api<A, S>>>, request: Request) -> Response {
    let (call, sound) = Call::begin(request.headers(), &api.metrics.create_redrive);
    let answer = created(&api, &call.correlation_id, sound, request).await;
    call.end(answer)
}

async fn created<A: Accept, S: Show>(
    api: &Api<A, S>,
    correlation_id: &CorrelationId,
    sound: Result<(), Problem>,
    request: Request,
) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let json = sound.and_then(|()| headers::json_body(&head.headers));
    let key = match json.and_then(|()| headers::idempotency_key(&head.headers)) {
        Ok(key) => key,
        Err(problem) => {
            body::discard(&head.headers, body).await;
            return Err(problem);
        }
    };
    let body = api.bodies.read(&head.headers, body).await?;
    let invalid = |faults| Problem::faulty(&INVALID_REDRIVE, "redrive", faults);
    let asked = NewRedrive::read(&body).map_err(|unread| unread.problem(invalid))?;
    let failed = |fault| failed(fault, correlation_id);
    let idempotency = key.map(|key| api.keys.of_redrive(key, &asked));
    let edited = match (&asked.body, &asked.selection) {
        (Some(body), Selection::Ids(ids)) => {
            let original = match ids.first() {
                Some(id) => api.desk.dead_letter(*id).await.map_err(failed)?,
                None => None,
            };
            original.map(|original| edited_body(body, &original, asked.new_key)).transpose()?
        }
        _ => None,
    };
    let wish =
        Wish { selection: asked.selection, destinations: remembered(api), force: asked.force, new_key: asked.new_key };
    if asked.dry_run {
        let plan = api.desk.plan_redrive(wish).await.map_err(failed)?;
        return json_answer(StatusCode::OK, &views::redrive::plan(plan));
    }
    let terms = Terms {
        rate: asked.rate,
        concurrency: asked.concurrency,
        stop_after_failed_share: asked.stop_after_failed_share,
        body: edited,
        new_key: asked.new_key,
        idempotency,
    };
    let (redrive, replayed) = match api.desk.create_redrive(wish, terms).await.map_err(failed)? {
        Created::New(redrive) => (redrive, false),
        Created::Replayed(redrive) => (redrive, true),
        Created::KeyReused => {
            return Err(Problem::new(&IDEMPOTENCY_KEY_REUSED, "Idempotency-Key stands for another redrive"));
        }
        Created::Nothing(refused) => return Err(Problem::new(&NOTHING_TO_REDRIVE, nothing(&refused))),
    };
    if !replayed {
        tracing::info!(redrive = %redrive.id, matched = redrive.matched, %correlation_id, "a redrive begins");
        api.redriving.wake.wake();
    }
    let location = format!("/v1/redrives/{}", redrive.id);
    let mut response = json_answer(StatusCode::CREATED, &views::redrive::redrive(*redrive))?;
    if let Ok(location) = HeaderValue::try_from(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    if replayed {
        response.headers_mut().insert(&IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// Each origin, and when a key was first used at the latest so that it is remembered there.
fn remembered<A, S>(api: &Api<A, S>) -> BTreeMap<Origin, Option<Timestamp>> {
    let from = |name: &Name| {
        let ttl = api.redriving.key_ttls.get(name)?;
        now().checked_sub(SignedDuration::try_from(*ttl).ok()?).ok()
    };
    let destinations = api.destinations.iter().map(|name| (name.clone().into(), from(name)));
    destinations.chain([(Origin::Reports, None)]).collect()
}

fn nothing(refused: &[Refused]) -> String {
    if refused.is_empty() {
        return "no dead letter matches".to_owned();
    }
    let reasons: Vec<_> = refused.iter().map(|of| format!("{} for {}", of.count, of.reason.as_str())).collect();
    let hint = if refused.iter().any(|of| of.reason == store::Refusal::KeyExpired) {
        "; with force they are sent although their key may have been forgotten"
    } else {
        ""
    };
    format!("every dead letter that matches is refused: {}{hint}", reasons.join(", "))
}
