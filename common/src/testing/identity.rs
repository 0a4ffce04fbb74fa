//! What a destination declares about itself.

use super::{
    report::{ConformanceReport, holds},
    subject::Subject,
};
use crate::{
    config::{CommonConfig, Setting, Settings, Source},
    destination::{Destination, Name},
    worker::{WorkerConfig, worker_settings},
};

pub(super) fn check<D: Destination>(subject: &Subject<'_, D>, report: &mut ConformanceReport) {
    report.note(
        "its NAME is 1 to 64 lower-case letters, digits and dashes, and not `outcomes` or `dlx`",
        holds(D::NAME.parse::<Name>().is_ok(), || format!("found {:?}", D::NAME)),
    );
    report.note(
        "its BINARY is lower-case letters, digits and dashes, like the name of its crate",
        holds(plain(D::BINARY), || format!("found {:?}", D::BINARY)),
    );
    report.note("the worker accepts its defaults", defaults(subject));
    report.note("each of its settings has a distinct name, in capitals", names::<D>());
    report.note("the help of each of its settings is a sentence", helps::<D>());
    report.note("a setting named like a secret is one, and no secret has a default", secrets::<D>());
}

fn plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

fn defaults<D: Destination>(subject: &Subject<'_, D>) -> Result<(), String> {
    let source = Source { env: subject.env(subject.api.base()), ..Source::default() };
    let mut settings = Settings::new(source, &worker_settings::<D>());
    let _ = CommonConfig::read(&mut settings);
    let _ = WorkerConfig::read(&mut settings);
    settings.finish().map_err(|faults| format!("DEFAULTS: {faults}"))
}

fn names<D: Destination>() -> Result<(), String> {
    let all = worker_settings::<D>();
    let flags = |setting: &Setting| {
        let file = setting.secret.then(|| format!("{}_FILE", setting.name));
        [Some(setting.name.to_owned()), file].into_iter().flatten()
    };
    for own in D::SETTINGS {
        let capitals = own.name.bytes().all(|byte| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'_'));
        if !capitals || own.name.is_empty() {
            return Err(format!("{:?} is not in capitals, digits and underscores", own.name));
        }
        for name in flags(own) {
            if all.iter().flat_map(flags).filter(|other| *other == name).count() > 1 {
                return Err(format!("{name} is the name of two settings of this worker"));
            }
        }
    }
    Ok(())
}

fn helps<D: Destination>() -> Result<(), String> {
    match D::SETTINGS.iter().find(|setting| !setting.help.ends_with('.')) {
        Some(setting) => Err(format!("the help of {} is {:?}", setting.name, setting.help)),
        None => Ok(()),
    }
}

fn secrets<D: Destination>() -> Result<(), String> {
    for setting in D::SETTINGS {
        let named_like_one = ["KEY", "PASSWORD", "SECRET", "TOKEN"].iter().any(|word| setting.name.ends_with(word));
        if named_like_one && !setting.secret {
            return Err(format!("{} is not marked `.secret()`", setting.name));
        }
        if setting.secret && setting.default.is_some() {
            return Err(format!("{} is a secret with a default, which everyone knows", setting.name));
        }
    }
    Ok(())
}
