//! Calls any method of the descriptor set, with a request that is made from values by the names of its fields.

use std::{collections::BTreeMap, time::Duration};

use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor, Value,
};
use supalove_proto::v1::{ImageContent, ProjectSettings, SecretValue, UploadStart, Variable};
use supalove_system_tests::Api;
use tonic::{Code, Request, Status};

/// Values of requests' text fields, by the fields' names.
pub type Fields = BTreeMap<&'static str, String>;

/// sha256 of nothing.
const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Every method of the public API.
pub fn methods() -> Vec<MethodDescriptor> {
    let pool = DescriptorPool::decode(supalove_proto::DESCRIPTORS).unwrap();
    pool.services()
        .filter(|s| s.package_name() == "supalove.v1")
        .flat_map(|s| s.methods().collect::<Vec<_>>())
        .collect()
}

/// "Service/Method", as in the table.
pub fn name(method: &MethodDescriptor) -> String {
    format!("{}/{}", method.parent_service().name(), method.name())
}

fn request(method: &MethodDescriptor, fields: &Fields) -> Vec<u8> {
    let mut message = DynamicMessage::new(method.input());
    for field in method.input().fields() {
        if let Some(value) = value(&field, fields) {
            message.set_field(&field, value);
        }
    }
    prost::Message::encode_to_vec(&message)
}

fn value(field: &FieldDescriptor, fields: &Fields) -> Option<Value> {
    match (field.kind(), field.name()) {
        // Of DeleteSecrets and DeleteVariables.
        (Kind::String, "names") => Some(Value::List(vec![Value::String("GREETING".to_owned())])),
        (Kind::String, name) => fields.get(name).cloned().map(Value::String),
        // WaitOperation answers at once.
        (Kind::Message(duration), "timeout") => {
            let mut moment = DynamicMessage::new(duration);
            moment.set_field_by_name("nanos", Value::I32(1_000_000));
            Some(Value::Message(moment))
        }
        (Kind::Message(settings), "settings") => Some(Value::Message(same(settings, &some_settings()))),
        (Kind::Message(secret), "secrets") => {
            let one = SecretValue { name: "GREETING".into(), value: "hello".into() };
            Some(Value::List(vec![Value::Message(same(secret, &one))]))
        }
        (Kind::Message(variable), "variables") => {
            let one = Variable { name: "GREETING".into(), value: "hello".into(), update_time: None };
            Some(Value::List(vec![Value::Message(same(variable, &one))]))
        }
        // Of UploadContent: content without a byte is complete at once.
        (Kind::Message(start), "start") => {
            let content = Some(ImageContent { digest: EMPTY.to_owned(), size_bytes: 0 });
            Some(Value::Message(same(start, &UploadStart { content, offset: 0 })))
        }
        (Kind::Bytes, "manifest") => fields.get("manifest").map(|json| Value::Bytes(json.clone().into())),
        // Of UpdateProjectSize.
        (Kind::Uint32, "memory_mib") => Some(Value::U32(600)),
        // READ
        (Kind::Enum(_), "scopes") => Some(Value::List(vec![Value::EnumNumber(1)])),
        // DEVELOPER
        (Kind::Enum(_), "role") => Some(Value::EnumNumber(3)),
        // MEMBERS
        (Kind::Enum(_), "entitlement") => Some(Value::EnumNumber(5)),
        (Kind::Message(limit), "value") if limit.name() == "EntitlementValue" => {
            let mut hundred = DynamicMessage::new(limit);
            hundred.set_field_by_name("number", Value::U64(100));
            Some(Value::Message(hundred))
        }
        (Kind::Message(mask), "update_mask") => fields.get("update_mask").map(|path| {
            let mut one = DynamicMessage::new(mask);
            one.set_field_by_name("paths", Value::List(vec![Value::String(path.clone())]));
            Value::Message(one)
        }),
        _ => None,
    }
}

fn same(descriptor: MessageDescriptor, message: &impl prost::Message) -> DynamicMessage {
    DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice()).unwrap()
}

/// Settings that every project can have.
fn some_settings() -> ProjectSettings {
    ProjectSettings {
        site_url: "https://app.example.com".into(),
        jwt_lifetime: Some(prost_types::Duration { seconds: 600, nanos: 0 }),
        exposed_schemas: vec!["public".into()],
        max_rows: 7,
        file_size_limit_bytes: 7,
        ..Default::default()
    }
}

/// The code of a call's answer.
pub async fn call(api: &Api, method: &MethodDescriptor, fields: &Fields) -> Code {
    answer(api, method, fields).await.map_or_else(|status| status.code(), |()| Code::Ok)
}

/// Calls a method; a stream is read up to its first message.
pub async fn answer(api: &Api, method: &MethodDescriptor, fields: &Fields) -> Result<(), Status> {
    let mut client = tonic::client::Grpc::new(api.channel.clone());
    client.ready().await.unwrap();
    let mut request = Request::new(request(method, fields));
    request.set_timeout(Duration::from_secs(20));
    if !api.token.is_empty() {
        request.metadata_mut().insert("authorization", format!("Bearer {}", api.token).parse().unwrap());
    }
    let path = format!("/supalove.v1.{}", name(method)).parse().unwrap();
    if method.is_server_streaming() {
        let mut stream = client.server_streaming(request, path, BytesCodec).await?;
        let first = stream.get_mut().message().await?;
        return first.map(|_| ()).ok_or_else(|| Status::data_loss("the stream ended at once"));
    }
    client.unary(request, path, BytesCodec).await.map(|_| ())
}

pub use bytes_codec::BytesCodec;

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
