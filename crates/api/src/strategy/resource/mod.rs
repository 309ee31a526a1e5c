//! Dynamic resource allocation: classes of devices, claims for them, and the devices that drivers offer.

mod capacity;
mod claim;
mod class;
mod devices;
mod names;
mod slice;
mod status;

pub use claim::{ResourceClaim, ResourceClaimTemplate};
pub use class::DeviceClass;
pub use slice::ResourceSlice;

use crate::{
    field::{Error, Errors},
    validation::{At, list},
};

/// Checks the elements of a list that may have at most `most`; of a longer one only that is told.
fn each_of(all: &At, most: usize, errs: &mut Errors, check: &mut dyn FnMut(&At, &mut Errors)) {
    let count = list(all.v).len();
    if count > most {
        errs.push(Error::too_many(&all.path, count, most));
        return;
    }
    for at in all.each() {
        check(&at, errs);
    }
}

/// [`each_of`] for a list in which every key stands once.
fn set_of(
    all: &At,
    most: usize,
    key: &dyn Fn(&At) -> String,
    errs: &mut Errors,
    check: &mut dyn FnMut(&At, &mut Errors),
) {
    each_of(all, most, errs, check);
    if list(all.v).len() > most {
        return;
    }
    let mut seen: Vec<String> = Vec::new();
    for at in all.each() {
        let key = key(&at);
        if seen.contains(&key) {
            errs.push(Error::duplicate(&at.path, key.as_str()));
        }
        seen.push(key);
    }
}
