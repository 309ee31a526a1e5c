//! Room for deep trees: they are walked on a stack of their own.

use std::thread;

/// Trees up to this depth are walked on the stack at hand.
const SHALLOW: usize = 48;
/// Bytes; memory is taken only as far as it is used.
const STACK: usize = 128 << 20;

/// Runs `work` where there is room for a tree of that depth; none if there is no room to be had.
pub(crate) fn run<T: Send>(depth: usize, work: impl FnOnce() -> T + Send) -> Option<T> {
    if depth <= SHALLOW {
        return Some(work());
    }
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .stack_size(STACK)
            .spawn_scoped(scope, work);
        thread.ok()?.join().ok()
    })
}

/// How deep the tree of a text can be, roughly.
pub(crate) fn of_text(source: &str) -> usize {
    let mut open: usize = 0;
    let mut deepest: usize = 0;
    let mut signs: usize = 0;
    for byte in source.bytes() {
        match byte {
            b'(' | b'[' | b'{' => {
                open += 1;
                deepest = deepest.max(open);
            }
            b')' | b']' | b'}' => open = open.saturating_sub(1),
            b'?' | b'.' | b'+' | b'-' | b'*' | b'/' | b'%' | b'<' | b'>' | b'=' | b'!' => {
                signs += 1
            }
            _ => {}
        }
    }
    deepest * 3 + signs / 2
}
