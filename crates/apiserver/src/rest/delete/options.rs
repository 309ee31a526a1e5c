//! What a delete is asked to mind.

use knarr_api::{Status, decode::FieldValidation, field};
use knarr_store::Stored;
use serde::Deserialize;

use super::super::Target;
use crate::{
    Outcome,
    body::{self, RequestBody},
    chain::Call,
    codec,
    query::{Query, check_dry_run},
};

/// `DeleteOptions`, from body or query.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeleteOptions {
    pub grace_period_seconds: Option<i64>,
    pub preconditions: Option<Preconditions>,
    pub orphan_dependents: Option<bool>,
    pub propagation_policy: Option<String>,
    pub dry_run: Option<Vec<String>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Preconditions {
    pub uid: Option<String>,
    pub resource_version: Option<String>,
}

impl DeleteOptions {
    /// From the body when there is one, else from the query.
    ///
    /// # Errors
    /// 400, 413, 415, 422.
    pub async fn read(call: &Call, body: RequestBody) -> Outcome<Self> {
        let bytes = body::read(body).await?;
        let options = if bytes.is_empty() {
            Self::from_query(&call.query)?
        } else {
            Self::from_body(call, &bytes)?
        };
        options.check()?;
        Ok(options)
    }

    fn from_body(call: &Call, bytes: &[u8]) -> Outcome<Self> {
        let object = codec::decode_as(
            call,
            "",
            "v1",
            "DeleteOptions",
            bytes,
            FieldValidation::Ignore,
        )?;
        DeleteOptions::deserialize(&object)
            .map_err(|e| Box::new(Status::bad_request(e.to_string())))
    }

    fn from_query(query: &Query) -> Outcome<Self> {
        let dry: Vec<String> = query.all("dryRun").map(str::to_owned).collect();
        Ok(DeleteOptions {
            grace_period_seconds: query.int("gracePeriodSeconds")?,
            preconditions: None,
            orphan_dependents: query
                .get("orphanDependents")
                .map(|_| query.flag("orphanDependents")),
            propagation_policy: query.get("propagationPolicy").map(str::to_owned),
            dry_run: (!dry.is_empty()).then_some(dry),
        })
    }

    fn check(&self) -> Outcome<()> {
        let root = field::Path::default();
        let path = root.child("propagationPolicy");
        let mut errors = Vec::new();
        if let Some(policy) = &self.propagation_policy {
            if self.orphan_dependents.is_some() {
                let why = "orphanDependents and deletionPropagation cannot be both set";
                errors.push(field::Error::invalid(&path, policy.as_str(), why));
            }
            let known = ["Foreground", "Background", "Orphan", "nil"];
            if !known[..3].contains(&policy.as_str()) {
                errors.push(field::Error::not_supported(&path, policy.as_str(), &known));
            }
        }
        let dry: Vec<&str> = self.dry_run.iter().flatten().map(String::as_str).collect();
        errors.extend(check_dry_run(&root, &dry));
        if errors.is_empty() {
            return Ok(());
        }
        Err(Status::invalid("meta.k8s.io", "DeleteOptions", "", &errors).into())
    }

    pub fn is_dry_run(&self) -> bool {
        self.dry_run.as_ref().is_some_and(|d| !d.is_empty())
    }
}

/// # Errors
/// 409 when the object is not the one that is meant.
pub(super) fn check_preconditions(
    target: &Target,
    options: &DeleteOptions,
    current: &Stored,
) -> Outcome<()> {
    let Some(wanted) = &options.preconditions else {
        return Ok(());
    };
    let resource = &target.resource;
    let refuse = |why: String| {
        Err(Status::conflict(&resource.group, &resource.kind, &current.head.name, &why).into())
    };
    if let Some(uid) = wanted.uid.as_ref().filter(|u| **u != current.head.uid) {
        return refuse(format!(
            "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been deleted and then recreated",
            current.head.uid
        ));
    }
    let revision = current.revision.to_string();
    if let Some(asked) = wanted.resource_version.as_ref().filter(|r| **r != revision) {
        return refuse(format!(
            "the ResourceVersion in the precondition ({asked}) does not match the ResourceVersion in record ({revision}). The object might have been modified"
        ));
    }
    Ok(())
}
