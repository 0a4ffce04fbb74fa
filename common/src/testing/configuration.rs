//! How a destination reads its settings.

use std::{collections::HashMap, fmt::Debug};

use super::{
    report::{ConformanceReport, equal, holds},
    subject::{Subject, Unconfigured},
};
use crate::{config::Faults, destination::Destination};

/// A shorter secret may occur in a text by chance.
const DISTINCTIVE_BYTES: usize = 8;
/// Addresses that no API can have.
const INVALID_ADDRESSES: [&str; 4] = ["here", "ftp://127.0.0.1", "http://127.0.0.1/?order=", "http://127.0.0.1/#order"];

/// Returns whether the destination can be configured at all.
pub(super) fn check<D>(subject: &Subject<'_, D>, report: &mut ConformanceReport) -> bool
where
    D: Destination + Debug,
    D::Config: Debug,
{
    let base = subject.api.base();
    let usable = report.note(
        "it can be configured and made with the test's settings",
        subject.made(base).map(|_| ()).and_then(|()| addresses(subject)),
    );
    if !usable {
        return false;
    }
    report.note("a missing required setting is reported by its name", absent(subject, None));
    report.note("an empty value counts as absent", absent(subject, Some("")));
    report.note("all missing required settings are reported at once", all_absent(subject));
    report.note("an address that is not http or https is reported by its name", no_address(subject));
    report.note("an address with a password is refused, and the password is not repeated", credentials(subject));
    report.note("`url` is the configured address, for http and https", url(subject));
    report.note(
        "a secret that does not fit a header is harmless or reported by its name, and is not shown",
        unfit(subject),
    );
    report.note("debug output shows no secret", debug(subject));
    true
}

fn addresses<D: Destination>(subject: &Subject<'_, D>) -> Result<(), String> {
    if let Some(secret) = subject.secrets().iter().find(|secret| secret.len() < DISTINCTIVE_BYTES) {
        let detail =
            format!("the test's secret {secret:?} is too short to search for; it must have {DISTINCTIVE_BYTES} bytes");
        return Err(detail);
    }
    holds(!subject.addresses().is_empty(), || {
        "none of the test's settings has the address that the test is given".to_owned()
    })
}

/// The faults of these settings, if each of the expected variables has one and none shows a secret.
fn faulty<D: Destination>(
    subject: &Subject<'_, D>,
    env: HashMap<String, String>,
    expected: &[&str],
) -> Result<Faults, String> {
    match Subject::<D>::configured(env) {
        Ok(_) => Err(format!("expected a fault of {}, found none", expected.join(", "))),
        Err(Unconfigured::Panic(words)) => Err(format!("panicked: {words}")),
        Err(Unconfigured::Faults(faults)) => {
            subject.hides_secrets(&format!("{faults} {faults:?}"))?;
            let named = |name: &&&str| faults.0.iter().any(|fault| fault.variable == **name);
            match expected.iter().find(|name| !named(name)) {
                Some(missing) => Err(format!(
                    "{missing} is not among the faults; read every setting before the first `?`\nfound: {faults}"
                )),
                None => Ok(faults),
            }
        }
    }
}

fn required<D: Destination>() -> Vec<&'static str> {
    D::SETTINGS.iter().filter(|setting| setting.default.is_none()).map(|setting| setting.name).collect()
}

fn absent<D: Destination>(subject: &Subject<'_, D>, value: Option<&str>) -> Result<(), String> {
    for name in required::<D>() {
        let mut env = subject.env(subject.api.base());
        env.remove(name);
        env.extend(value.map(|value| (name.to_owned(), value.to_owned())));
        faulty(subject, env, &[name])?;
    }
    Ok(())
}

fn all_absent<D: Destination>(subject: &Subject<'_, D>) -> Result<(), String> {
    let required = required::<D>();
    let mut env = subject.env(subject.api.base());
    env.retain(|name, _| !required.contains(&name.as_str()));
    if required.is_empty() { Ok(()) } else { faulty(subject, env, &required).map(|_| ()) }
}

fn no_address<D: Destination>(subject: &Subject<'_, D>) -> Result<(), String> {
    for name in subject.addresses() {
        for bad in INVALID_ADDRESSES {
            let mut env = subject.env(subject.api.base());
            env.insert(name.to_owned(), bad.to_owned());
            faulty(subject, env, &[name]).map_err(|detail| format!("{name}={bad}: {detail}"))?;
        }
    }
    Ok(())
}

fn credentials<D: Destination>(subject: &Subject<'_, D>) -> Result<(), String> {
    for name in subject.addresses() {
        let mut env = subject.env(subject.api.base());
        env.insert(name.to_owned(), "http://somebody:conformance-password@127.0.0.1".to_owned());
        let faults = faulty(subject, env, &[name])?;
        holds(!format!("{faults:?}").contains("conformance-password"), || format!("found {faults}"))?;
    }
    Ok(())
}

fn url<D: Destination>(subject: &Subject<'_, D>) -> Result<(), String> {
    for base in ["http://tandem.example:8081", "https://tandem.example"] {
        let config = Subject::<D>::configured(subject.env(base)).map_err(|fault| fault.to_string())?;
        equal(D::url(&config).origin().ascii_serialization().as_str(), base)?;
    }
    Ok(())
}

fn unfit<D: Destination>(subject: &Subject<'_, D>) -> Result<(), String> {
    let secrets = D::SETTINGS.iter().filter(|setting| setting.secret);
    for name in secrets.map(|setting| setting.name) {
        let mut env = subject.env(subject.api.base());
        let unfit = "conformance\nsecret";
        env.insert(name.to_owned(), unfit.to_owned());
        match Subject::<D>::configured(env.clone()) {
            Ok(_) => Subject::<D>::made_with(env).map(|_| ())?,
            Err(Unconfigured::Panic(words)) => return Err(format!("panicked: {words}")),
            Err(Unconfigured::Faults(faults)) => {
                holds(faults.0.iter().all(|fault| fault.variable == name), || format!("found {faults}"))?;
                holds(faults.0.iter().all(|fault| !fault.detail.contains("conformance")), || {
                    format!("found {faults}")
                })?;
            }
        }
    }
    Ok(())
}

fn debug<D>(subject: &Subject<'_, D>) -> Result<(), String>
where
    D: Destination + Debug,
    D::Config: Debug,
{
    let env = subject.env(subject.api.base());
    let config = Subject::<D>::configured(env).map_err(|fault| fault.to_string())?;
    subject.hides_secrets(&format!("{config:?} {config:#?}"))?;
    let destination = subject.made(subject.api.base())?;
    subject.hides_secrets(&format!("{destination:?} {destination:#?}"))
}
