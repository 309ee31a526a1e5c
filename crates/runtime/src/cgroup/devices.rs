//! Which devices a group may use. Version 1 takes rules as text, version 2 a small BPF program.

use std::{fs, os::fd::AsRawFd, path::Path};

use anyhow::Context;
use nix::errno::Errno;
use serde::{Deserialize, Serialize};

/// Allows one kind of device. `None` means any number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRule {
    pub block: bool,
    pub major: Option<u32>,
    pub minor: Option<u32>,
    /// Out of `rwm`.
    pub access: String,
}

impl DeviceRule {
    fn line(&self) -> String {
        let number = |n: Option<u32>| n.map_or("*".to_owned(), |n| n.to_string());
        let kind = if self.block { 'b' } else { 'c' };
        format!(
            "{kind} {}:{} {}",
            number(self.major),
            number(self.minor),
            self.access
        )
    }
}

pub(super) fn restrict_v1(dir: &Path, rules: &[DeviceRule]) -> anyhow::Result<()> {
    let write = |file: &str, line: &str| {
        let path = dir.join(file);
        fs::write(&path, line).with_context(|| format!("write {line:?} to {}", path.display()))
    };
    write("devices.deny", "a")?;
    for rule in rules {
        write("devices.allow", &rule.line())?;
    }
    Ok(())
}

/// One BPF instruction: operation, registers (source in the upper half), jump offset, constant.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    constant: i32,
}

const fn op(code: u8, to: u8, from: u8, offset: i16, constant: i32) -> Instruction {
    Instruction {
        code,
        registers: (from << 4) | to,
        offset,
        constant,
    }
}

const LOAD_WORD: u8 = 0x61;
const AND: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x74;
const COPY: u8 = 0xbc;
const SET: u8 = 0xb7;
const JUMP_UNLESS_CONSTANT: u8 = 0x55;
const JUMP_UNLESS_EQUAL: u8 = 0x5d;
const EXIT: u8 = 0x95;

/// The program is called with (access << 16 | type, major, minor) and returns 1 to allow.
fn program(rules: &[DeviceRule]) -> Vec<Instruction> {
    let mut code = vec![
        op(LOAD_WORD, 2, 1, 0, 0),
        op(COPY, 3, 2, 0, 0),
        op(AND, 2, 0, 0, 0xffff),
        op(SHIFT_RIGHT, 3, 0, 0, 16),
        op(LOAD_WORD, 4, 1, 4, 0),
        op(LOAD_WORD, 5, 1, 8, 0),
    ];
    for rule in rules {
        code.extend(rule_code(rule));
    }
    code.extend([op(SET, 0, 0, 0, 0), op(EXIT, 0, 0, 0, 0)]);
    code
}

fn rule_code(rule: &DeviceRule) -> Vec<Instruction> {
    let mut checks = vec![op(
        JUMP_UNLESS_CONSTANT,
        2,
        0,
        0,
        if rule.block { 1 } else { 2 },
    )];
    let access = rule.access.chars().fold(0, |bits, c| {
        bits | match c {
            'm' => 1,
            'r' => 2,
            'w' => 4,
            _ => 0,
        }
    });
    if access != 7 {
        // Everything that is asked for has to be among what the rule gives.
        checks.push(op(COPY, 6, 3, 0, 0));
        checks.push(op(AND, 6, 0, 0, access));
        checks.push(op(JUMP_UNLESS_EQUAL, 6, 3, 0, 0));
    }
    for (register, number) in [(4, rule.major), (5, rule.minor)] {
        if let Some(number) = number {
            // Device numbers have at most 20 bits.
            checks.push(op(
                JUMP_UNLESS_CONSTANT,
                register,
                0,
                0,
                number.cast_signed(),
            ));
        }
    }
    let length = checks.len();
    for (at, check) in checks.iter_mut().enumerate() {
        if matches!(check.code, JUMP_UNLESS_CONSTANT | JUMP_UNLESS_EQUAL) {
            // Over the remaining checks and the two instructions of "allow".
            check.offset = i16::try_from(length - at + 1).unwrap_or(i16::MAX);
        }
    }
    checks.extend([op(SET, 0, 0, 0, 1), op(EXIT, 0, 0, 0, 0)]);
    checks
}

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_ATTACH: libc::c_long = 8;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 2;

/// The head of the kernel's `bpf_attr` for loading; the rest is optional.
#[repr(C)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

#[repr(C)]
struct Attach {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

/// # Safety
/// `attributes` must be what the kernel expects for `command`.
unsafe fn bpf<T>(command: libc::c_long, attributes: &T) -> nix::Result<i32> {
    // SAFETY: the caller vouches for the layout; the size is that of the value.
    let done = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attributes),
            size_of::<T>(),
        )
    };
    Errno::result(done).map(|fd| i32::try_from(fd).unwrap_or(-1))
}

pub(super) fn restrict_v2(dir: &Path, rules: &[DeviceRule]) -> anyhow::Result<()> {
    use std::os::fd::{FromRawFd, OwnedFd};
    let code = program(rules);
    let load = Load {
        kind: BPF_PROG_TYPE_CGROUP_DEVICE,
        count: u32::try_from(code.len())?,
        instructions: code.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
    };
    // SAFETY: the pointers live through the call, and a descriptor that the kernel gave is ours.
    let program =
        unsafe { OwnedFd::from_raw_fd(bpf(BPF_PROG_LOAD, &load).context("load device program")?) };
    let group = fs::File::open(dir).with_context(|| format!("open {}", dir.display()))?;
    let attach = Attach {
        target: group.as_raw_fd().cast_unsigned(),
        program: program.as_raw_fd().cast_unsigned(),
        kind: BPF_CGROUP_DEVICE,
        flags: BPF_F_ALLOW_MULTI,
    };
    // SAFETY: plain numbers.
    unsafe { bpf(BPF_PROG_ATTACH, &attach) }
        .context("attach device program")
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Vec<DeviceRule> {
        vec![
            DeviceRule {
                block: false,
                major: None,
                minor: None,
                access: "m".into(),
            },
            DeviceRule {
                block: false,
                major: Some(1),
                minor: Some(3),
                access: "rwm".into(),
            },
            DeviceRule {
                block: true,
                major: Some(8),
                minor: None,
                access: "r".into(),
            },
        ]
    }

    /// Runs the program as the kernel would.
    fn allows(code: &[Instruction], block: bool, access: u32, major: u32, minor: u32) -> bool {
        let context = [(access << 16) | if block { 1 } else { 2 }, major, minor];
        let mut registers = [0u32; 16];
        let mut at = 0usize;
        loop {
            let i = code[at];
            let (to, from) = (usize::from(i.registers & 15), usize::from(i.registers >> 4));
            let constant = i.constant.cast_unsigned();
            let mut jump = 0;
            match i.code {
                LOAD_WORD => registers[to] = context[usize::try_from(i.offset).unwrap() / 4],
                AND => registers[to] &= constant,
                SHIFT_RIGHT => registers[to] >>= constant,
                COPY => registers[to] = registers[from],
                SET => registers[to] = constant,
                JUMP_UNLESS_CONSTANT if registers[to] != constant => jump = i.offset,
                JUMP_UNLESS_EQUAL if registers[to] != registers[from] => jump = i.offset,
                JUMP_UNLESS_CONSTANT | JUMP_UNLESS_EQUAL => {}
                EXIT => return registers[0] == 1,
                other => panic!("unknown operation {other:#x}"),
            }
            at += 1 + usize::try_from(jump).unwrap();
        }
    }

    #[test]
    fn the_program_decides_as_the_rules_say() {
        let code = program(&rules());
        let (mknod, read, write) = (1, 2, 4);
        assert!(allows(&code, false, mknod, 200, 1));
        assert!(!allows(&code, false, mknod | read, 200, 1));
        assert!(allows(&code, false, read | write, 1, 3));
        assert!(!allows(&code, false, read, 1, 4));
        assert!(allows(&code, true, read, 8, 17));
        assert!(!allows(&code, true, write, 8, 17));
        assert!(!allows(&program(&[]), false, read, 1, 3));
    }

    #[test]
    fn lines_for_version_1() {
        let lines: Vec<String> = rules().iter().map(DeviceRule::line).collect();
        assert_eq!(lines, ["c *:* m", "c 1:3 rwm", "b 8:* r"]);
    }
}
