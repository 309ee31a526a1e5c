//! Priority and fairness: FlowSchemas and PriorityLevelConfigurations.

pub mod fixed;
mod rules;
mod validate;

use jiff::Timestamp;
use knarr_json::Value;

use super::{
    Column, Context, Strategy, common,
    defaults::{at, ensure, set, set_zero},
};
use crate::{
    field::Errors,
    table,
    validation::{At, list, meta, text},
};

/// `flowcontrol.apiserver.k8s.io/v1/FlowSchema`.
pub struct FlowSchema;

impl Strategy for FlowSchema {
    fn default(&self, _ctx: &Context, object: &mut Value) {
        set_zero(ensure(object, "spec"), "matchingPrecedence", 1000);
    }

    fn prepare_create(&self, _ctx: &Context, object: &mut Value) {
        common::reset(object, "status");
    }

    fn validate_create(&self, _ctx: &Context, object: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::create(object, false, meta::subdomain, &mut errs);
        validate::schema(object, &mut errs);
        errs
    }

    fn prepare_update(&self, ctx: &Context, object: &mut Value, old: &Value) {
        common::split_status(&ctx.subresource, object, old);
    }

    fn validate_update(&self, ctx: &Context, object: &Value, _old: &Value) -> Errors {
        let mut errs = Errors::new();
        if ctx.subresource == "status" {
            validate::conditions(&At::root(object, "status"), &mut errs);
            return errs;
        }
        self.validate_create(ctx, object)
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    /// As they are asked: by precedence.
    fn order_rows(&self, objects: &mut [Value]) {
        objects.sort_by(|a, b| {
            let key = |o: &Value| o["spec"]["matchingPrecedence"].as_i64().unwrap_or(0);
            let name = |o: &Value| text(&o["metadata"], "name").to_owned();
            (key(a), name(a)).cmp(&(key(b), name(b)))
        });
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            table::name(),
            table::column(
                "PriorityLevel",
                "`priorityLevelConfiguration` should reference a PriorityLevelConfiguration in the cluster. If the reference cannot be resolved, the FlowSchema will be ignored and marked as invalid in its status. Required.",
            ),
            table::column(
                "MatchingPrecedence",
                "`matchingPrecedence` is used to choose among the FlowSchemas that match a given request. The chosen FlowSchema is among those with the numerically lowest (which we take to be logically highest) MatchingPrecedence.  Each MatchingPrecedence value must be ranged in [1,10000]. Note that if the precedence is not specified, it will be set to 1000 as default.",
            ),
            table::column(
                "DistinguisherMethod",
                "`distinguisherMethod` defines how to compute the flow distinguisher for requests that match this schema. `nil` specifies that the distinguisher is disabled and thus will always be the empty string.",
            ),
            table::age(),
            table::column(
                "MissingPL",
                "references a broken or non-existent PriorityLevelConfiguration",
            ),
        ]
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let (spec, status) = (&object["spec"], &object["status"]);
        let method = &spec["distinguisherMethod"];
        let dangling = list(&status["conditions"])
            .iter()
            .find(|c| c["type"] == "Dangling");
        let method = if method.is_object() {
            text(method, "type")
        } else {
            "<none>"
        };
        vec![
            table::name_of(object),
            text(&spec["priorityLevelConfiguration"], "name").into(),
            spec["matchingPrecedence"].as_i64().unwrap_or(0).into(),
            method.into(),
            table::age_of(object, now),
            dangling.map_or("?", |c| text(c, "status")).into(),
        ]
    }
}

/// `flowcontrol.apiserver.k8s.io/v1/PriorityLevelConfiguration`.
pub struct PriorityLevelConfiguration;

impl Strategy for PriorityLevelConfiguration {
    fn default(&self, _ctx: &Context, object: &mut Value) {
        let spec = ensure(object, "spec");
        if let Some(limited) = at(spec, "limited") {
            set(limited, "nominalConcurrencyShares", 30);
            set(limited, "lendablePercent", 0);
            let response = ensure(limited, "limitResponse");
            if let Some(queuing) = at(response, "queuing") {
                set_zero(queuing, "queues", 64);
                set_zero(queuing, "handSize", 8);
                set_zero(queuing, "queueLengthLimit", 50);
            }
        }
        if let Some(exempt) = at(spec, "exempt") {
            set(exempt, "nominalConcurrencyShares", 0);
            set(exempt, "lendablePercent", 0);
        }
    }

    fn prepare_create(&self, _ctx: &Context, object: &mut Value) {
        common::reset(object, "status");
    }

    fn validate_create(&self, _ctx: &Context, object: &Value) -> Errors {
        let mut errs = Errors::new();
        meta::create(object, false, meta::subdomain, &mut errs);
        validate::level(object, &mut errs);
        errs
    }

    fn prepare_update(&self, ctx: &Context, object: &mut Value, old: &Value) {
        common::split_status(&ctx.subresource, object, old);
    }

    fn validate_update(&self, ctx: &Context, object: &Value, _old: &Value) -> Errors {
        let mut errs = Errors::new();
        if ctx.subresource == "status" {
            validate::conditions(&At::root(object, "status"), &mut errs);
            return errs;
        }
        self.validate_create(ctx, object)
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            table::name(),
            table::column(
                "Type",
                "`type` indicates whether this priority level is subject to limitation on request execution.  A value of `\"Exempt\"` means that requests of this priority level are not subject to a limit (and thus are never queued) and do not detract from the capacity made available to other priority levels.  A value of `\"Limited\"` means that (a) requests of this priority level _are_ subject to limits and (b) some of the server's limited capacity is made available exclusively to this priority level. Required.",
            ),
            table::column(
                "NominalConcurrencyShares",
                "`nominalConcurrencyShares` (NCS) contributes to the computation of the NominalConcurrencyLimit (NominalCL) of this level. This is the number of execution seats available at this priority level. This is used both for requests dispatched from this priority level as well as requests dispatched from other priority levels borrowing seats from this level. The server's concurrency limit (ServerCL) is divided among the Limited priority levels in proportion to their NCS values:\n\nNominalCL(i)  = ceil( ServerCL * NCS(i) / sum_ncs ) sum_ncs = sum[priority level k] NCS(k)\n\nBigger numbers mean a larger nominal concurrency limit, at the expense of every other priority level.\n\nIf not specified, this field defaults to a value of 30.\n\nSetting this field to zero supports the construction of a \"jail\" for this priority level that is used to hold some request(s)",
            ),
            table::column(
                "Queues",
                "`queues` is the number of queues for this priority level. The queues exist independently at each apiserver. The value must be positive.  Setting it to 1 effectively precludes shufflesharding and thus makes the distinguisher method of associated flow schemas irrelevant.  This field has a default value of 64.",
            ),
            table::column(
                "HandSize",
                "`handSize` is a small positive number that configures the shuffle sharding of requests into queues.  When enqueuing a request at this priority level the request's flow identifier (a string pair) is hashed and the hash value is used to shuffle the list of queues and deal a hand of the size specified here.  The request is put into one of the shortest queues in that hand. `handSize` must be no larger than `queues`, and should be significantly smaller (so that a few heavy flows do not saturate most of the queues).  See the user-facing documentation for more extensive guidance on setting this field.  This field has a default value of 8.",
            ),
            table::column(
                "QueueLengthLimit",
                "`queueLengthLimit` is the maximum number of requests allowed to be waiting in a given queue of this priority level at a time; excess requests are rejected.  This value must be positive.  If not specified, it will be defaulted to 50.",
            ),
            table::age(),
        ]
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let limited = &object["spec"]["limited"];
        let queuing = &limited["limitResponse"]["queuing"];
        let number = |v: &Value| match v.as_i64() {
            Some(n) => n.into(),
            None => "<none>".into(),
        };
        vec![
            table::name_of(object),
            text(&object["spec"], "type").into(),
            number(&limited["nominalConcurrencyShares"]),
            number(&queuing["queues"]),
            number(&queuing["handSize"]),
            number(&queuing["queueLengthLimit"]),
            table::age_of(object, now),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_json::json;

    #[test]
    fn rows_are_ordered_by_precedence() {
        let schema = |name: &str, precedence: i64| json!({"metadata": {"name": name}, "spec": {"matchingPrecedence": precedence}});
        let mut rows = vec![
            schema("a", 900),
            schema("c", 1),
            schema("b", 900),
            schema("d", 2),
        ];
        FlowSchema.order_rows(&mut rows);
        let names: Vec<&str> = rows.iter().map(|o| text(&o["metadata"], "name")).collect();
        assert_eq!(names, ["c", "d", "a", "b"]);
    }
}
