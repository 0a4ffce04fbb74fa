//! The health of a process, which `/livez` and `/readyz` show: every component reports on itself.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tokio::time::{Interval, interval};

use crate::{word::Word, words};

/// If a component has not shown a sign of life for this long, the process is not live.
const SIGN_OF_LIFE: Duration = Duration::from_secs(60);

/// How often a component reports on itself.
const TICK: Duration = Duration::from_secs(1);

/// When a component has to report on itself: at once, and then every second.
#[must_use]
pub fn ticks() -> Interval {
    interval(TICK)
}

/// The components of one process. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<BTreeMap<Cow<'static, str>, SharedPart>>>);

type SharedPart = Arc<Mutex<Part>>;

#[derive(Debug)]
struct Part {
    kind: Kind,
    state: State,
    seen: Instant,
}

/// What it means for the process if a component is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The process cannot do its work: not ready.
    Required,
    /// The process works and catches up later: ready, but degraded.
    Tolerated,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Up,
    Limited(String),
    Down(String),
}

/// A handle on the state of a component, for the component and its readers. Clones share it.
#[derive(Clone, Debug)]
pub struct Component {
    name: Cow<'static, str>,
    part: SharedPart,
}

impl Health {
    /// Adds a component, which is down until it reports otherwise.
    #[must_use]
    pub fn component(&self, name: impl Into<Cow<'static, str>>, kind: Kind) -> Component {
        let name = name.into();
        let part = Part { kind, state: State::Down("starting".to_owned()), seen: Instant::now() };
        let part = Arc::new(Mutex::new(part));
        lock(&self.0).insert(name.clone(), Arc::clone(&part));
        Component { name, part }
    }

    /// Whether the process can do its work, and why not.
    #[must_use]
    pub fn readiness(&self) -> HealthReport {
        self.report(|part| part.kind, Part::report)
    }

    /// Whether the process is live: every component has recently shown a sign of life, connected or not.
    #[must_use]
    pub fn liveness(&self) -> HealthReport {
        // Whatever its kind: if a component is stuck, the process has to be restarted.
        self.report(
            |_| Kind::Required,
            |part| {
                let silent = part.seen.elapsed();
                if silent < SIGN_OF_LIFE {
                    ComponentReport::up()
                } else {
                    ComponentReport::down(format!("no sign of life for {} s", silent.as_secs()))
                }
            },
        )
    }

    fn report(&self, kind: impl Fn(&Part) -> Kind, look: impl Fn(&Part) -> ComponentReport) -> HealthReport {
        let mut status = Readiness::Ready;
        let components = lock(&self.0)
            .iter()
            .map(|(name, part)| {
                let part = lock(part);
                let component = look(&part);
                if component.status == ComponentStatus::Down {
                    status = status.max(match kind(&part) {
                        Kind::Required => Readiness::NotReady,
                        Kind::Tolerated => Readiness::Degraded,
                    });
                }
                (name.clone(), component)
            })
            .collect();
        HealthReport { status: status.into(), components }
    }
}

impl Part {
    fn report(&self) -> ComponentReport {
        match &self.state {
            State::Up => ComponentReport::up(),
            State::Limited(reason) => ComponentReport { reason: Some(reason.clone()), ..ComponentReport::up() },
            State::Down(reason) => ComponentReport::down(reason.clone()),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Component {
    /// Its name, as it is shown.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The component works.
    pub fn up(&self) {
        self.set(State::Up);
    }

    /// The component works, but not as fast as it could, for this reason, worded for the person on call.
    pub fn limited(&self, reason: impl Into<String>) {
        self.set(State::Limited(reason.into()));
    }

    /// The component does not work, for this reason, worded for the person on call.
    pub fn down(&self, reason: impl Into<String>) {
        self.set(State::Down(reason.into()));
    }

    /// The component is alive, whatever its state.
    pub fn sign_of_life(&self) {
        lock(&self.part).seen = Instant::now();
    }

    /// What it last reported.
    #[must_use]
    pub fn report(&self) -> ComponentReport {
        lock(&self.part).report()
    }

    fn set(&self, state: State) {
        let mut part = lock(&self.part);
        part.state = state;
        part.seen = Instant::now();
    }
}

/// The response of `/livez` and `/readyz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = Health, description = "The health of a process."))]
pub struct HealthReport {
    /// The status of the process, which its worst component decides.
    #[cfg_attr(feature = "openapi", schema(value_type = Readiness))]
    pub status: Word<Readiness>,
    /// The components, by name.
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, ComponentReport>))]
    pub components: BTreeMap<Cow<'static, str>, ComponentReport>,
}

words! {
    /// Whether a process can do its work.
    pub enum Readiness {
        /// Everything works.
        Ready = "ready",
        /// It works, but something is down that it catches up on later.
        Degraded = "degraded",
        /// It cannot do its work.
        NotReady = "not_ready",
    }
}

/// One component of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = Component))]
pub struct ComponentReport {
    /// Whether it works.
    #[cfg_attr(feature = "openapi", schema(value_type = ComponentStatus))]
    pub status: Word<ComponentStatus>,
    /// Why it does not, or what holds it up; absent if nothing does.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(required = false, nullable = false))]
    pub reason: Option<String>,
}

impl ComponentReport {
    fn up() -> Self {
        Self { status: ComponentStatus::Up.into(), reason: None }
    }

    fn down(reason: String) -> Self {
        Self { status: ComponentStatus::Down.into(), reason: Some(reason) }
    }
}

words! {
    /// Whether a component works.
    pub enum ComponentStatus {
        /// It works.
        Up = "up",
        /// It does not work.
        Down = "down",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_as_ready_as_its_worst_component() {
        let health = Health::default();
        let store = health.component("store", Kind::Required);
        let relay = health.component("relay", Kind::Tolerated);
        assert_eq!(health.readiness().status, Readiness::NotReady);
        store.up();
        assert_eq!(health.readiness().status, Readiness::Degraded);
        relay.up();
        assert_eq!(health.readiness().status, Readiness::Ready);
        relay.down("the broker does not answer");
        let report = health.readiness();
        assert_eq!(report.components["relay"].reason.as_deref(), Some("the broker does not answer"));
        assert_eq!(health.liveness().status, Readiness::Ready);
    }
}
