//! Users and groups by the image's own `/etc/passwd` and `/etc/group`.

use std::fs;

use anyhow::{Context, bail};

use crate::spec::UserSpec;

/// Who a process runs as.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Identity {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary ones.
    pub groups: Vec<u32>,
    pub home: String,
}

/// Looks names up below the caller's root.
pub(super) fn look_up(want: &UserSpec) -> anyhow::Result<Identity> {
    // An image may have neither file; numbers need none.
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let group = fs::read_to_string("/etc/group").unwrap_or_default();
    identify(want, &passwd, &group)
}

struct User<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

fn users(passwd: &str) -> impl Iterator<Item = User<'_>> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|n| !n.is_empty())?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(User {
            name,
            uid,
            gid,
            home: fields.nth(1).unwrap_or("/"),
        })
    })
}

/// Name, number and members.
fn groups(group: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    group.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some((name, gid, fields.next().unwrap_or("")))
    })
}

fn identify(want: &UserSpec, passwd: &str, group: &str) -> anyhow::Result<Identity> {
    let text = if want.user.is_empty() {
        "0"
    } else {
        &want.user
    };
    let number: Option<u32> = text.parse().ok();
    let known = users(passwd)
        .find(|u| u.name == text)
        .or_else(|| users(passwd).find(|u| Some(u.uid) == number));
    let uid = match (&known, number) {
        (Some(user), _) => user.uid,
        (None, Some(uid)) => uid,
        (None, None) => bail!("unable to find user {text}: no matching entries in passwd file"),
    };
    let gid = match (&*want.group, &known) {
        ("", Some(user)) => user.gid,
        ("", None) => 0,
        (text, _) => group_number(text, group)?,
    };
    let mut all = want.supplemental.clone();
    if let (Some(user), false) = (&known, want.strict) {
        let member = |members: &str| members.split(',').any(|m| m == user.name);
        all.extend(
            groups(group)
                .filter(|(_, _, members)| member(members))
                .map(|(_, gid, _)| gid),
        );
    }
    // The primary group is among them, as a login would have it.
    all.push(gid);
    all.sort_unstable();
    all.dedup();
    let home = known
        .map(|u| u.home)
        .filter(|h| !h.is_empty())
        .unwrap_or("/");
    Ok(Identity {
        uid,
        gid,
        groups: all,
        home: home.to_owned(),
    })
}

fn group_number(text: &str, group: &str) -> anyhow::Result<u32> {
    if let Some((_, gid, _)) = groups(group).find(|(name, ..)| *name == text) {
        return Ok(gid);
    }
    text.parse()
        .with_context(|| format!("unable to find group {text}: no matching entries in group file"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\nweb:x:101:102:web:/var/www:/bin/false\nbroken\n";
    const GROUP: &str = "root:x:0:\nwww:x:102:\nmail:x:8:web,other\nmore:x:9:web\n";

    fn who(user: &str, group: &str, strict: bool) -> anyhow::Result<Identity> {
        let want = UserSpec {
            user: user.into(),
            group: group.into(),
            supplemental: vec![5],
            strict,
        };
        identify(&want, PASSWD, GROUP)
    }

    #[test]
    fn names_and_numbers() {
        let web = Identity {
            uid: 101,
            gid: 102,
            groups: vec![5, 8, 9, 102],
            home: "/var/www".into(),
        };
        assert_eq!(who("web", "", false).unwrap(), web);
        assert_eq!(who("101", "", false).unwrap(), web);
        assert_eq!(who("web", "", true).unwrap().groups, [5, 102]);
        assert_eq!(who("", "", false).unwrap().home, "/root");
        let unknown = who("4711", "", false).unwrap();
        assert_eq!((unknown.uid, unknown.gid, &*unknown.home), (4711, 0, "/"));
        assert_eq!(who("web", "mail", false).unwrap().gid, 8);
        assert_eq!(who("0", "77", false).unwrap().gid, 77);
    }

    #[test]
    fn unknown_names_are_errors() {
        let text = format!("{:#}", who("nobody", "", false).unwrap_err());
        assert_eq!(
            text,
            "unable to find user nobody: no matching entries in passwd file"
        );
        assert!(who("0", "nogroup", false).is_err());
    }
}
