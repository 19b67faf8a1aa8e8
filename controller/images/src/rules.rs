//! Rows of the room's methods.

use supalove_core::access::{Lasts, Permission::ManageFleet, Rule, Scope::OperatorOnly};

/// Every method of the room.
pub const RULES: &[Rule] = &[
    Rule::read("/supalove.v1.ImageService/FindMissingContent", OperatorOnly, ManageFleet),
    Rule::write("/supalove.v1.ImageService/UploadContent", OperatorOnly, ManageFleet).lasting(Lasts::Stream),
    Rule::write("/supalove.v1.ImageService/PushImage", OperatorOnly, ManageFleet),
    Rule::read("/supalove.v1.ImageService/ListImages", OperatorOnly, ManageFleet),
    Rule::write("/supalove.v1.ImageService/DeleteImage", OperatorOnly, ManageFleet),
    Rule::write("/supalove.v1.ImageService/CollectImageGarbage", OperatorOnly, ManageFleet),
];
