//! Volumes behind iSCSI.

use super::{
    sources::{Holder, byte_range},
    volume::require,
};
use crate::{
    field::{Error, Errors},
    validation::At,
};

/// An initiator's name and its volume's go into one name on the node, which has a limit.
pub const TOO_LONG: &str = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.";

/// Checks the source `iscsi`.
pub fn check(s: &At, holder: Holder, errs: &mut Errors) {
    require(s, &["targetPortal"], errs);
    let portal = s.text("targetPortal");
    if let Holder::Volume(name) = holder
        && names_too_long(s, name)
    {
        errs.push(Error::invalid(
            &s.path.child("targetportal"),
            portal,
            TOO_LONG,
        ));
    }
    // a PersistentVolume gets shorter words for a name of no known kind
    let unknown = match holder {
        Holder::Pod => "must be valid format starting with iqn, eui, or naa",
        Holder::Volume(_) => "must be valid format",
    };
    let iqn = s.get("iqn");
    if iqn.str().is_empty() {
        errs.push(iqn.required(""));
    } else {
        initiator(&iqn, unknown, errs);
    }
    byte_range(s, "lun", errs);
    if (s.flag("chapAuthDiscovery") || s.flag("chapAuthSession")) && !s.has("secretRef") {
        errs.push(s.get("secretRef").required(""));
    }
    if let (Holder::Volume(_), Some(secret)) = (holder, s.some("secretRef")) {
        require(&secret, &["name"], errs);
    }
    if s.has("initiatorName") {
        initiator(&s.get_as("initiatorName", "initiatorname"), unknown, errs);
    }
}

/// Whether the volume's name and the portal are too long together for an initiator of its own.
pub fn names_too_long(s: &At, volume: &str) -> bool {
    s.has("initiatorName") && volume.len() + 1 + s.text("targetPortal").len() > 64
}

fn initiator(name: &At, unknown: &str, errs: &mut Errors) {
    let value = name.str();
    let known = if value.starts_with("iqn") {
        is_qualified(value)
    } else if value.starts_with("eui") {
        is_hex_like(value, "eui", 16)
    } else if value.starts_with("naa") {
        is_hex_like(value, "naa", 32)
    } else {
        errs.push(name.invalid(unknown));
        return;
    };
    if !known {
        errs.push(name.invalid("must be valid format"));
    }
}

/// `eui.` or `naa.` and a number of letters and digits; any sign may stand for the dot.
fn is_hex_like(value: &str, kind: &str, digits: usize) -> bool {
    let mut rest = value.strip_prefix(kind).unwrap_or_default().chars();
    rest.next().is_some_and(|c| c != '\n')
        && rest.as_str().len() == digits
        && rest.all(|c| c.is_ascii_alphanumeric())
}

/// `iqn.YEAR-MONTH.DOMAIN:NAME`, found anywhere in the text as long as it ends it.
fn is_qualified(value: &str) -> bool {
    value.match_indices("iqn.").any(|(at, _)| {
        let rest = &value[at + 4..];
        let Some((date, rest)) = rest.split_at_checked(7) else {
            return false;
        };
        let digits = |s: &str| s.bytes().all(|c| c.is_ascii_digit());
        if !(digits(&date[..4]) && &date[4..5] == "-" && digits(&date[5..])) {
            return false;
        }
        let Some((domain, name)) = rest.strip_prefix('.').and_then(|r| r.split_once(':')) else {
            return false;
        };
        let in_domain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
        let in_name = |c: char| !c.is_ascii_whitespace() && !",;*&$|".contains(c);
        !domain.is_empty()
            && domain.chars().all(in_domain)
            && !name.is_empty()
            && name.chars().all(in_name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::{Value, json};

    fn wrong(source: Value, holder: Holder) -> Vec<String> {
        let mut errs = Errors::new();
        check(&At::new(&source, "s"), holder, &mut errs);
        errs.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn initiators_and_what_they_need() {
        let fine = json!({"targetPortal": "p", "iqn": "iqn.2014-01.a.b:c:d"});
        assert!(wrong(fine.clone(), Holder::Pod).is_empty());
        for (iqn, pod, volume) in [
            (
                "disk",
                "must be valid format starting with iqn, eui, or naa",
                "must be valid format",
            ),
            (
                "iqn.14-01.a:b",
                "must be valid format",
                "must be valid format",
            ),
            ("eui.123", "must be valid format", "must be valid format"),
        ] {
            let source = json!({"targetPortal": "p", "iqn": iqn});
            let say = |words: &str| vec![format!("s.iqn: Invalid value: {iqn:?}: {words}")];
            assert_eq!(wrong(source.clone(), Holder::Pod), say(pod));
            assert_eq!(wrong(source, Holder::Volume("v")), say(volume));
        }
        let mut more = fine;
        more["chapAuthSession"] = json!(true);
        more["lun"] = json!(-1);
        more["initiatorName"] = json!("naa.1");
        assert_eq!(
            wrong(more, Holder::Pod),
            [
                "s.lun: Invalid value: -1: must be between 0 and 255, inclusive",
                "s.secretRef: Required value",
                "s.initiatorname: Invalid value: \"naa.1\": must be valid format"
            ]
        );
    }
}
