//! Seccomp profiles: the default one, and those that a node keeps as files in the OCI format.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, anyhow, bail};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};
use serde::Deserialize;

use super::syscalls::{ALLOWED, RESTRICTED, number};
use crate::types::Seccomp;

/// Programs to load, in this order. Among several verdicts the kernel takes the strictest.
pub(super) fn compile(profile: &Seccomp, capabilities: u64) -> anyhow::Result<Vec<BpfProgram>> {
    match profile {
        Seccomp::Unconfined => Ok(Vec::new()),
        Seccomp::RuntimeDefault => default_profile(capabilities),
        Seccomp::Localhost(path) => local_profile(path),
    }
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn program(
    rules: Rules,
    otherwise: SeccompAction,
    on_match: SeccompAction,
) -> anyhow::Result<BpfProgram> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)
        .map_err(|_| anyhow!("no seccomp for this architecture"))?;
    let filter = SeccompFilter::new(rules, otherwise, on_match, arch).context("seccomp profile")?;
    BpfProgram::try_from(filter).context("seccomp profile")
}

fn condition(
    argument: u8,
    operation: SeccompCmpOp,
    value: u64,
) -> anyhow::Result<SeccompCondition> {
    Ok(SeccompCondition::new(
        argument,
        SeccompCmpArgLen::Qword,
        operation,
        value,
    )?)
}

/// Everything that ordinary programs need; what reaches into the kernel or the host only with the capability for it.
fn default_profile(capabilities: u64) -> anyhow::Result<Vec<BpfProgram>> {
    let mut rules: Rules = ALLOWED
        .iter()
        .filter_map(|name| Some((number(name)?, Vec::new())))
        .collect();
    for (capability, names) in RESTRICTED {
        if capabilities & (1 << capability) != 0 {
            rules.extend(
                names
                    .iter()
                    .filter_map(|name| Some((number(name)?, Vec::new()))),
            );
        }
    }
    const CAP_SYS_ADMIN: u64 = 21;
    let mut missing = Rules::new();
    if capabilities & (1 << CAP_SYS_ADMIN) == 0 {
        // No new namespaces.
        let no_namespace = condition(0, SeccompCmpOp::MaskedEq(0x7E02_0000), 0)?;
        rules.insert(libc::SYS_clone, vec![SeccompRule::new(vec![no_namespace])?]);
        // Its flags lie in memory where no filter sees them; libraries fall back to clone when it seems missing.
        missing.insert(libc::SYS_clone3, Vec::new());
        rules.insert(libc::SYS_clone3, Vec::new());
    }
    let personality = [0, 0x0008, 0x2_0000, 0x2_0008, 0xffff_ffff]
        .into_iter()
        .map(|value| {
            Ok(SeccompRule::new(vec![condition(
                0,
                SeccompCmpOp::Eq,
                value,
            )?])?)
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    rules.insert(libc::SYS_personality, personality);
    // Sockets to the hypervisor would leave the pod's network namespace.
    const AF_VSOCK: u64 = 40;
    rules.insert(
        libc::SYS_socket,
        vec![SeccompRule::new(vec![condition(
            0,
            SeccompCmpOp::Ne,
            AF_VSOCK,
        )?])?],
    );
    let mut programs = Vec::new();
    if !missing.is_empty() {
        programs.push(program(
            missing,
            SeccompAction::Allow,
            SeccompAction::Errno(libc::ENOSYS.cast_unsigned()),
        )?);
    }
    programs.push(program(
        rules,
        SeccompAction::Errno(libc::EPERM.cast_unsigned()),
        SeccompAction::Allow,
    )?);
    Ok(programs)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: String,
    default_errno_ret: Option<u32>,
    #[serde(default)]
    syscalls: Vec<ProfileRule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProfileRule {
    names: Vec<String>,
    action: String,
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Vec<ProfileArg>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProfileArg {
    index: u8,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

fn local_profile(path: &Path) -> anyhow::Result<Vec<BpfProgram>> {
    let text =
        fs::read(path).with_context(|| format!("read seccomp profile {}", path.display()))?;
    let profile: Profile = serde_json::from_slice(&text)
        .with_context(|| format!("seccomp profile {} is damaged", path.display()))?;
    programs(&profile).with_context(|| format!("seccomp profile {}", path.display()))
}

/// One program per action: each lets pass what the others decide about.
fn programs(profile: &Profile) -> anyhow::Result<Vec<BpfProgram>> {
    let default = action(&profile.default_action, profile.default_errno_ret)?;
    let mut groups: Vec<(SeccompAction, Rules)> = Vec::new();
    let mut decided = Rules::new();
    for rule in &profile.syscalls {
        let verdict = action(&rule.action, rule.errno_ret)?;
        let conditions = rule
            .args
            .iter()
            .map(argument)
            .collect::<anyhow::Result<Vec<_>>>()?;
        // Names of other architectures or of later kernels are no mistake.
        for number in rule.names.iter().filter_map(|name| number(name)) {
            let at = groups
                .iter()
                .position(|(a, _)| *a == verdict)
                .unwrap_or_else(|| {
                    groups.push((verdict.clone(), Rules::new()));
                    groups.len() - 1
                });
            for rules in [&mut groups[at].1, &mut decided] {
                add(rules, number, &conditions)?;
            }
        }
    }
    let mut all = Vec::new();
    for (verdict, rules) in groups {
        if verdict != SeccompAction::Allow && verdict != default {
            all.push(program(rules, SeccompAction::Allow, verdict)?);
        }
    }
    if default != SeccompAction::Allow {
        // Loaded last: it may forbid loading further ones.
        all.push(program(decided, default, SeccompAction::Allow)?);
    }
    Ok(all)
}

/// An entry without conditions matches always, whatever other entries ask for.
fn add(rules: &mut Rules, number: i64, conditions: &[SeccompCondition]) -> anyhow::Result<()> {
    if conditions.is_empty() {
        rules.insert(number, Vec::new());
    } else if rules.get(&number).is_none_or(|chain| !chain.is_empty()) {
        rules
            .entry(number)
            .or_default()
            .push(SeccompRule::new(conditions.to_vec())?);
    }
    Ok(())
}

fn action(name: &str, errno: Option<u32>) -> anyhow::Result<SeccompAction> {
    Ok(match name {
        "SCMP_ACT_ALLOW" => SeccompAction::Allow,
        "SCMP_ACT_ERRNO" => SeccompAction::Errno(errno.unwrap_or(libc::EPERM.cast_unsigned())),
        "SCMP_ACT_LOG" => SeccompAction::Log,
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => SeccompAction::KillThread,
        "SCMP_ACT_KILL_PROCESS" => SeccompAction::KillProcess,
        "SCMP_ACT_TRAP" => SeccompAction::Trap,
        "SCMP_ACT_TRACE" => SeccompAction::Trace(errno.unwrap_or(libc::EPERM.cast_unsigned())),
        other => bail!("unknown action {other}"),
    })
}

fn argument(want: &ProfileArg) -> anyhow::Result<SeccompCondition> {
    let (operation, value) = match want.op.as_str() {
        "SCMP_CMP_EQ" => (SeccompCmpOp::Eq, want.value),
        "SCMP_CMP_NE" => (SeccompCmpOp::Ne, want.value),
        "SCMP_CMP_LT" => (SeccompCmpOp::Lt, want.value),
        "SCMP_CMP_LE" => (SeccompCmpOp::Le, want.value),
        "SCMP_CMP_GT" => (SeccompCmpOp::Gt, want.value),
        "SCMP_CMP_GE" => (SeccompCmpOp::Ge, want.value),
        "SCMP_CMP_MASKED_EQ" => (SeccompCmpOp::MaskedEq(want.value), want.value_two),
        other => bail!("unknown comparison {other}"),
    };
    condition(want.index, operation, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_profile_compiles() {
        assert_eq!(default_profile(0).unwrap().len(), 2);
        assert_eq!(default_profile(u64::MAX).unwrap().len(), 1);
    }

    #[test]
    fn local_profiles_compile() {
        let text = r#"{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86_64"],"syscalls":[
            {"names":["read","write","exit_group","of_the_future"],"action":"SCMP_ACT_ALLOW"},
            {"names":["clone"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":2080505856,"valueTwo":0,"op":"SCMP_CMP_MASKED_EQ"}]},
            {"names":["mkdir"],"action":"SCMP_ACT_ERRNO","errnoRet":38}]}"#;
        assert_eq!(
            programs(&serde_json::from_str(text).unwrap())
                .unwrap()
                .len(),
            2
        );
        let bad = r#"{"defaultAction":"SCMP_ACT_DANCE"}"#;
        assert!(programs(&serde_json::from_str(bad).unwrap()).is_err());
    }
}
