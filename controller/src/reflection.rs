//! gRPC reflection (v1 and v1alpha) of the services of the public port, and of the error details, so that grpcurl can
//! print them.

use std::collections::BTreeSet;

use supalove_core::{
    Room,
    access::{Lasts, Permission::Public, Rule, Scope::Anyone},
};
use tonic_reflection::server::Builder;

/// Rows of the reflection services.
pub const RULES: &[Rule] = &[
    Rule::read("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Anyone, Public)
        .lasting(Lasts::Stream),
    Rule::read("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Anyone, Public)
        .lasting(Lasts::Stream),
];

/// The room, for the services of the other rooms.
pub fn room(rooms: &[Room]) -> anyhow::Result<Room> {
    let rules = rooms.iter().flat_map(|room| room.rules).chain(RULES);
    let services: BTreeSet<&str> = rules.filter_map(|rule| rule.method.split('/').nth(1)).collect();
    Ok(Room::new("reflection", RULES)
        .service(builder(&services).build_v1()?)
        .service(builder(&services).build_v1alpha()?))
}

fn builder(services: &BTreeSet<&str>) -> Builder<'static> {
    let builder = Builder::configure()
        .register_encoded_file_descriptor_set(supalove_proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET);
    services.iter().fold(builder, |builder, service| builder.with_service_name(*service))
}
