//! Every RPC of the descriptor set is called as nobody, as a stranger, as the owner and as the operator, and must answer
//! as its row of the authorization table says. A method without a row, or a row without a method, fails.

use prost_reflect::{DescriptorPool, DynamicMessage, Kind, MethodDescriptor, Value};
use supalove_core::access::{Rule, Scope};
use supalove_proto::v1::Operation;
use supalove_system_tests::{Api, Controller};
use tonic::{Code, Request, Status};
use uuid::Uuid;

/// Carries any message as bytes, so that one function calls every method.
mod bytes_codec {
    use prost::bytes::{Buf, BufMut, Bytes};
    use tonic::{
        Status,
        codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    };

    #[derive(Default)]
    pub struct BytesCodec;

    impl Codec for BytesCodec {
        type Encode = Vec<u8>;
        type Decode = Bytes;
        type Encoder = Self;
        type Decoder = Self;
        fn encoder(&mut self) -> Self {
            Self
        }
        fn decoder(&mut self) -> Self {
            Self
        }
    }

    impl Encoder for BytesCodec {
        type Item = Vec<u8>;
        type Error = Status;
        fn encode(&mut self, item: Vec<u8>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
            to.put_slice(&item);
            Ok(())
        }
    }

    impl Decoder for BytesCodec {
        type Item = Bytes;
        type Error = Status;
        fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
            Ok(Some(from.copy_to_bytes(from.remaining())))
        }
    }
}

/// The objects that requests name; all belong to the owner.
struct Objects {
    organization: String,
    project_ref: String,
    operation_id: String,
    node_id: String,
    authority_id: String,
    join_token_id: String,
}

fn methods() -> Vec<MethodDescriptor> {
    let pool = DescriptorPool::decode(supalove_proto::DESCRIPTORS).unwrap();
    pool.services()
        .filter(|s| s.package_name() == "supalove.v1")
        .flat_map(|s| s.methods().collect::<Vec<_>>())
        .collect()
}

fn path(method: &MethodDescriptor) -> String {
    format!("/{}/{}", method.parent_service().full_name(), method.name())
}

/// A request that names the owner's objects in every field that names one.
/// Lists of one's own things are asked for without naming an organization.
fn request(method: &MethodDescriptor, rule: &Rule, objects: &Objects) -> Vec<u8> {
    let mut message = DynamicMessage::new(method.input());
    if rule.scope == Scope::AnySignedIn {
        return Vec::new();
    }
    for field in method.input().fields() {
        let value = match field.name() {
            "organization" => &objects.organization,
            "project_ref" => &objects.project_ref,
            "operation_id" => &objects.operation_id,
            "node_id" => &objects.node_id,
            "authority_id" => &objects.authority_id,
            "join_token_id" => &objects.join_token_id,
            _ => continue,
        };
        assert!(matches!(field.kind(), Kind::String));
        message.set_field(&field, Value::String(value.clone()));
    }
    prost::Message::encode_to_vec(&message)
}

/// The code of a call's answer; a stream is read up to its first message.
async fn call(api: &Api, method: &MethodDescriptor, rule: &Rule, objects: &Objects) -> Code {
    let mut client = tonic::client::Grpc::new(api.channel.clone());
    client.ready().await.unwrap();
    let mut request = Request::new(request(method, rule, objects));
    // WaitOperation answers before its caller's deadline.
    request.set_timeout(std::time::Duration::from_secs(1));
    if !api.token.is_empty() {
        request.metadata_mut().insert("authorization", format!("Bearer {}", api.token).parse().unwrap());
    }
    let path = path(method).parse().unwrap();
    let codec = bytes_codec::BytesCodec;
    let result: Result<(), Status> = if method.is_server_streaming() {
        match client.server_streaming(request, path, codec).await {
            Ok(mut stream) => stream.get_mut().message().await.map(|_| ()),
            Err(status) => Err(status),
        }
    } else {
        client.unary(request, path, codec).await.map(|_| ())
    };
    result.map_or_else(|status| status.code(), |()| Code::Ok)
}

async fn signed_in(controller: &Controller, email: &str) -> Api {
    let mut api = controller.api();
    api.sign_in(email).await;
    api
}

/// A project of the owner's organization and its pending operation.
async fn owner_objects(owner: &Api, organization: &str) -> Objects {
    owner.create_organization(organization).await;
    let created = owner
        .projects()
        .create_project(supalove_proto::v1::CreateProjectRequest {
            organization: organization.into(),
            name: "target".into(),
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner();
    let operation: Operation = created.operation.unwrap();
    Objects {
        organization: organization.into(),
        project_ref: created.project.unwrap().r#ref,
        operation_id: operation.id,
        node_id: FLEET.0.to_owned(),
        authority_id: FLEET.1.to_owned(),
        join_token_id: FLEET.2.to_owned(),
    }
}

/// A node, a root and a join token of the fleet, for the operator's methods.
const FLEET: (&str, &str, &str) = (
    "nod_00000000000000000000000000000001",
    "aut_00000000000000000000000000000002",
    "jtk_00000000000000000000000000000003",
);

/// What the table says about a principal, in codes that must, or must not, come.
fn judge(rule: &Rule, principal: &str, code: Code) -> Result<(), String> {
    let refused = [Code::Unauthenticated, Code::PermissionDenied, Code::NotFound];
    let public = rule.scope == Scope::Anyone;
    let on_object = matches!(rule.scope, Scope::On(_));
    let right = match principal {
        // Public methods may find the credentials in the request wrong; that is not about the caller.
        "nobody" => public || code == Code::Unauthenticated,
        "stranger" if on_object => code == Code::NotFound,
        "stranger" | "owner" if rule.scope == Scope::OperatorOnly => code == Code::PermissionDenied,
        "operator" if on_object && !rule.permission.operator() => code == Code::PermissionDenied,
        _ if public => true,
        _ => !refused.contains(&code),
    };
    if right { Ok(()) } else { Err(format!("{} as {principal}: {code:?}", rule.method)) }
}

#[tokio::test]
async fn authorization_covers_every_rpc_for_every_principal() {
    let controller = Controller::start().await;
    let operator = controller.operator().await;
    let rows = controller.database.rows().await;
    let (owner, stranger) = ("owner@example.com", "stranger@example.com");
    for email in [owner, stranger] {
        rows.add_user(email).await;
    }
    let ids = [1, 2, 3].map(Uuid::from_u128);
    rows.add_bare_node_root_and_token(ids[0], ids[1], ids[2]).await;
    let owner_api = signed_in(&controller, owner).await;
    let mut uncovered = Vec::new();
    let mut wrong = Vec::new();
    let methods = methods();
    let rules = supalove_controller::rules();
    for principal in ["nobody", "stranger", "owner", "operator"] {
        let caller = match principal {
            "nobody" => controller.api(),
            "stranger" => signed_in(&controller, stranger).await,
            "owner" => owner_api.clone(),
            _ => operator.clone(),
        };
        for (number, method) in methods.iter().enumerate() {
            let Some(rule) = rules.find(&path(method)) else {
                uncovered.push(path(method));
                continue;
            };
            // Objects of its own, since calls delete and cancel; and a session of its own for the one that ends it.
            let objects = owner_objects(&owner_api, &format!("{principal}-{number}")).await;
            let caller = match (method.name(), principal) {
                ("SignOut", "owner") => signed_in(&controller, owner).await,
                ("SignOut", "stranger") => signed_in(&controller, stranger).await,
                ("SignOut", "operator") => signed_in(&controller, "operator@example.com").await,
                _ => caller.clone(),
            };
            wrong.extend(judge(rule, principal, call(&caller, method, rule, &objects).await).err());
        }
    }
    let without_method: Vec<_> = rules
        .iter()
        .filter(|rule| {
            rule.method.starts_with("/supalove.") && !methods.iter().any(|m| path(m) == rule.method)
        })
        .map(|rule| rule.method)
        .collect();
    println!("{} RPCs, {} uncovered", methods.len(), uncovered.len());
    assert!(uncovered.is_empty(), "methods without a row: {uncovered:?}");
    assert!(without_method.is_empty(), "rows without a method: {without_method:?}");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn authorization_refuses_what_has_no_row() {
    let controller = Controller::start().await;
    let operator = controller.operator().await;
    let mut client = tonic::client::Grpc::new(operator.channel.clone());
    client.ready().await.unwrap();
    let path = "/supalove.v1.ProjectService/DropEverything".parse().unwrap();
    let answer = client.unary(Request::new(Vec::new()), path, bytes_codec::BytesCodec).await;
    assert_eq!(answer.unwrap_err().code(), Code::Unimplemented);
}
