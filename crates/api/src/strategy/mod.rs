//! What makes one kind different from another: defaults, validation, what an update may change, columns.
//!
//! A strategy changes objects as [`Value`]s (so that nothing it does not know is lost) and reads them typed where that is
//! clearer. It never does I/O: what must be looked up or allocated (cluster IPs, node ports, a namespace's default class)
//! is admission's work.

mod common;
pub(crate) mod defaults;

mod access;
mod addresses;
mod admissionregistration;
mod apiservice;
mod attachment;
pub(crate) mod autoscaling;
mod batch;
mod certificates;
mod classes;
mod component;
mod config;
mod csi;
mod custom;
pub mod definition;
mod endpoints;
mod event;
pub mod expressions;
pub mod flowcontrol;
mod ingress;
mod lease;
mod limits;
mod namespace;
mod node;
mod plain;
mod pod;
mod policy;
mod resource;
pub mod service;
mod storage;
mod storageclass;
mod topology;
mod workload;

pub use access::{Binding, BindingScope, Role, RoleScope};
pub use addresses::{IpAddress, ServiceCidr};
pub use admissionregistration::{
    MutatingAdmissionPolicy, PolicyBinding, ValidatingAdmissionPolicy, WebhookConfiguration,
    service as webhook_service, url as webhook_url,
};
pub use apiservice::ApiService;
pub use attachment::{VolumeAttachment, VolumeAttributesClass};
pub use autoscaling::HorizontalPodAutoscaler;
pub use batch::{CronJob, Job};
pub use certificates::CertificateSigningRequest;
pub use classes::{PriorityClass, RuntimeClass};
pub use component::ComponentStatus;
pub use config::{ConfigMap, Secret, ServiceAccount};
pub use csi::{CsiDriver, CsiNode, CsiStorageCapacity};
pub use custom::{Custom, selectable_value};
pub use definition::CustomResourceDefinition;
pub use endpoints::{EndpointSlice, Endpoints};
pub use event::Event;
pub use flowcontrol::{FlowSchema, PriorityLevelConfiguration};
pub use ingress::{Ingress, IngressClass};
pub use lease::Lease;
pub use limits::{LimitRange, PodTemplate, ResourceQuota};
pub use namespace::Namespace;
pub use node::Node;
pub use plain::Plain;
pub use pod::Pod;
pub use policy::{NetworkPolicy, PodDisruptionBudget};
pub use resource::{DeviceClass, ResourceClaim, ResourceClaimTemplate, ResourceSlice};
pub use service::Service;
pub use storage::{PersistentVolume, PersistentVolumeClaim};
pub use storageclass::StorageClass;
pub use workload::{
    ControllerRevision, DaemonSet, Deployment, ReplicaSet, ReplicationController, StatefulSet,
};

use std::borrow::Cow;

use knarr_json::Value;

use crate::{field, head::Head};

/// What a write is done for.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// API version of the request, without the group: `v1`.
    pub version: String,
    /// The version of old (see [`crate::old`]) that the request is worded in.
    pub old: Option<&'static str>,
    /// Empty for the object itself; `status`, `scale`, ….
    pub subresource: String,
    /// Name of the authenticated user.
    pub user: String,
    /// Whether claims of the object's namespace may use devices that others hold.
    pub admin_access: bool,
    /// Compiles expressions.
    pub expressions: expressions::Expressions,
}

/// A column of a Table.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    pub name: Cow<'static, str>,
    /// OpenAPI type: `string`, `integer`, `date`, `boolean`, `number`.
    pub kind: Cow<'static, str>,
    /// `name` for the name column, else mostly empty.
    pub format: Cow<'static, str>,
    pub description: Cow<'static, str>,
    /// 0 is always shown, 1 with `-o wide`.
    pub priority: i32,
}

/// Per-kind behaviour. The default methods are those of a kind with neither spec nor status.
///
/// The order of a create is: `default` → (admission) → `prepare_create` → `validate_create` → store. Of an update:
/// `default` → `prepare_update` → (admission) → `validate_update` → store. Generic metadata (name, uid, timestamps,
/// generation on spec change) is filled in and kept by generic code before and after.
///
/// `validate_create` and `validate_update` check metadata too, by the kind's own rule for names, since what is wrong there
/// is told first. Generic code adds what the original's generic code adds: [`crate::validation::meta::update`] *before*
/// `validate_update`, both lists being answered; and [`crate::validation::meta::path_segment_name`] after a
/// `validate_create` that found nothing.
pub trait Strategy: Send + Sync {
    /// Fills in what the user left out. Runs on every decoded body, and again after a patch or an apply.
    fn default(&self, _ctx: &Context, _object: &mut Value) {}

    /// Clears what a creator may not set (status) and sets what the server decides.
    fn prepare_create(&self, _ctx: &Context, _object: &mut Value) {}

    fn validate_create(&self, _ctx: &Context, _object: &Value) -> field::Errors {
        Vec::new()
    }

    /// Carries over from `old` what this kind of update may not touch: status for an update of the object, everything but
    /// status for one of `/status`.
    fn prepare_update(&self, _ctx: &Context, _object: &mut Value, _old: &Value) {}

    fn validate_update(&self, _ctx: &Context, _object: &Value, _old: &Value) -> field::Errors {
        Vec::new()
    }

    /// Texts for `Warning: 299` headers. `old` is none on create.
    fn warnings(&self, _ctx: &Context, _object: &Value, _old: Option<&Value>) -> Vec<String> {
        Vec::new()
    }

    /// A warning that every request to this kind gets, reads too.
    fn deprecated(&self) -> Option<&'static str> {
        None
    }

    /// [`Strategy::deprecated`] for one version, in words made at run time.
    fn deprecated_at(&self, _version: &str) -> Option<String> {
        self.deprecated().map(str::to_owned)
    }

    /// Whether metadata.generation counts changes of this kind's spec.
    fn has_generation(&self) -> bool {
        false
    }

    /// Whether this update of a kind with a generation counts as a change of it.
    fn generation_changed(&self, object: &Value, old: &Value) -> bool {
        object["spec"] != old["spec"]
    }

    /// Whether PUT to a name that does not exist creates it (`AllowCreateOnUpdate`).
    fn create_on_update(&self) -> bool {
        false
    }

    /// Whether an update without resourceVersion is taken as unconditional (`AllowUnconditionalUpdate`).
    fn unconditional_update(&self) -> bool {
        true
    }

    /// Errors with the name, `[]` when it is fine. `prefix` is true for generateName.
    fn validate_name(&self, name: &str, _prefix: bool) -> Vec<String> {
        crate::names::dns1123_subdomain(name)
    }

    /// Seconds until a graceful delete becomes final; `None` when this kind is deleted at once.
    /// `asked` is the request's gracePeriodSeconds.
    fn grace_period(&self, _object: &Value, _asked: Option<i64>) -> Option<i64> {
        None
    }

    /// Whether a delete that is final at once answers with the object instead of a Status.
    fn returns_deleted(&self) -> bool {
        false
    }

    /// What happens to dependents when the request does not say: true keeps them (only old RC, never apps/v1).
    fn orphan_by_default(&self) -> bool {
        false
    }

    /// Selectable fields beyond metadata.name and metadata.namespace, with their values in `object`.
    /// The same fields come, in the same order, for every object of the kind.
    fn fields(&self, _object: &Value) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// Names of the selectable fields, for telling an unknown one.
    fn field_names(&self) -> &'static [&'static str] {
        &[]
    }

    /// What a field is called today, by which clients of old may select.
    fn field_today<'a>(&self, field: &'a str) -> &'a str {
        field
    }

    /// Whether a field, which is neither metadata.name nor metadata.namespace, can be selected at a version.
    fn selectable(&self, _version: &str, field: &str) -> bool {
        self.field_names().contains(&field)
    }

    /// What is said of a field selector on a field that is not selectable.
    fn unknown_field(&self, field: &str) -> String {
        if self.field_names().is_empty() {
            format!(
                "{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
            )
        } else {
            format!("field label not supported: {field}")
        }
    }

    /// Brings the objects of a list into the order of their rows in a Table, where that is not the order of the list.
    fn order_rows(&self, _objects: &mut [Value]) {}

    /// Conditions of a row of a Table.
    fn row_conditions(&self, _object: &Value) -> Vec<Value> {
        Vec::new()
    }

    /// Columns of Table answers.
    fn columns(&self) -> Vec<Column> {
        crate::table::default_columns()
    }

    /// The cells of one row, matching [`Strategy::columns`]. `now` is for ages.
    fn cells(&self, object: &Value, now: jiff::Timestamp) -> Vec<Value> {
        crate::table::default_cells(object, now)
    }

    /// [`Strategy::columns`] at a version, for kinds whose versions differ in them.
    fn columns_at(&self, _version: &str) -> Vec<Column> {
        self.columns()
    }

    /// [`Strategy::cells`] at a version, matching [`Strategy::columns_at`].
    fn cells_at(&self, _version: &str, object: &Value, now: jiff::Timestamp) -> Vec<Value> {
        self.cells(object, now)
    }

    /// The `apiVersion` that objects are stored at when it is none of this resource's own: events of `events.k8s.io` are
    /// stored as core events.
    fn stored_as(&self) -> Option<&'static str> {
        None
    }

    /// Brings an object from one `apiVersion` (`v1`, `autoscaling/v2`) to another one that its kind is served or stored at.
    /// `apiVersion` itself is set by the caller; kinds whose versions have the same fields have nothing to do here.
    fn convert(&self, _object: &mut Value, _from: &str, _to: &str) {}

    /// The head of an object of this kind.
    fn head(&self, object: &Value) -> Head {
        Head::of(object, self.fields(object))
    }
}
