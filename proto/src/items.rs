//! A message is bounded in items, not only in bytes: 24 MiB of empty messages would decode to gigabytes. [`Codec`] counts
//! the fields of a message by the descriptors of the protos, before it decodes any of them.

use std::{collections::HashMap, marker::PhantomData, sync::LazyLock};

use prost::{
    Message, Name,
    bytes::Buf as _,
    encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field},
};
use prost_types::{FileDescriptorSet, field_descriptor_proto::Type};
use tonic::{
    Status,
    codec::{BufferSettings, DecodeBuf, Decoder},
};
use tonic_prost::{ProstCodec, ProstEncoder};

/// Fields of a message, those of its messages included: three times what the largest specification has, with 4,096 files
/// and 32 services of 512 variables each. What is decoded of a message then takes at most some 100 MB.
pub const ITEMS: usize = 250_000;

/// The codec of all services: `tonic_prost`'s, with the count before each decoding.
#[derive(Debug, Clone)]
pub struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> tonic::codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Name + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = Counting<U>;

    fn encoder(&mut self) -> ProstEncoder<T> {
        ProstCodec::<T, U>::raw_encoder(BufferSettings::default())
    }

    fn decoder(&mut self) -> Counting<U> {
        Counting(PhantomData)
    }
}

/// Counts, then decodes.
#[derive(Debug, Clone)]
pub struct Counting<U>(PhantomData<U>);

impl<U: Message + Name + Default> Decoder for Counting<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        // tonic gives a decoder exactly one message, in one piece.
        check::<U>(bytes.chunk()).map_err(|reason| malformed::<U>(&reason))?;
        U::decode(bytes).map(Some).map_err(|error| malformed::<U>(&error.to_string()))
    }
}

/// A request that cannot be decoded is its caller's mistake; an answer that cannot be decoded is the server's.
fn malformed<U: Name>(reason: &str) -> Status {
    if U::NAME.ends_with("Request") {
        Status::invalid_argument(format!("the request is malformed: {reason}"))
    } else {
        Status::internal(format!("the answer is malformed: {reason}"))
    }
}

/// An error if an encoded message has more than [`ITEMS`] fields. What is no message of this type passes as far as it can be
/// counted: the decoder then says what is wrong.
pub fn check<U: Name>(bytes: &[u8]) -> Result<(), String> {
    let mut left = ITEMS;
    // A message of another package (google.protobuf) is small by its type, and counted without its parts.
    let shape = TYPES.names.get(&U::full_name()).map(|index| &TYPES.shapes[*index]);
    count(bytes, shape.unwrap_or(&Shape::default()), 0, &mut left)
        .map_err(|TooMany| format!("it has more than {ITEMS} fields"))
}

struct TooMany;

/// Fields of a type of message that hold messages or packed numbers.
#[derive(Default)]
struct Shape(HashMap<u32, Part>);

#[derive(Clone, Copy)]
enum Part {
    /// A message; its shape.
    Message(usize),
    /// Numbers, each of at least so many bytes.
    Packed(usize),
}

struct Types {
    names: HashMap<String, usize>,
    shapes: Vec<Shape>,
}

/// As deep as prost decodes.
const DEEPEST: usize = 100;

fn count(mut bytes: &[u8], shape: &Shape, depth: usize, left: &mut usize) -> Result<(), TooMany> {
    while !bytes.is_empty() && depth <= DEEPEST {
        *left = left.checked_sub(1).ok_or(TooMany)?;
        let Ok((field, wire_type)) = decode_key(&mut bytes) else { return Ok(()) };
        if wire_type != WireType::LengthDelimited {
            if skip_field(wire_type, field, &mut bytes, DecodeContext::default()).is_err() {
                return Ok(());
            }
            continue;
        }
        let length = decode_varint(&mut bytes).ok().and_then(|length| usize::try_from(length).ok());
        let Some((inside, rest)) = length.and_then(|length| bytes.split_at_checked(length)) else {
            return Ok(());
        };
        match shape.0.get(&field) {
            Some(Part::Message(index)) => count(inside, &TYPES.shapes[*index], depth + 1, left)?,
            Some(Part::Packed(least)) => *left = left.checked_sub(inside.len() / least).ok_or(TooMany)?,
            None => {}
        }
        bytes = rest;
    }
    Ok(())
}

static TYPES: LazyLock<Types> = LazyLock::new(|| {
    // The descriptors are compiled in; a test reads them.
    let files = FileDescriptorSet::decode(crate::DESCRIPTORS).unwrap_or_default();
    let mut messages = Vec::new();
    for file in &files.file {
        for message in &file.message_type {
            collect(file.package(), message, &mut messages);
        }
    }
    let names: HashMap<String, usize> =
        messages.iter().enumerate().map(|(index, (name, _))| (name.clone(), index)).collect();
    let shapes = messages.iter().map(|(_, message)| shape(message, &names)).collect();
    Types { names, shapes }
});

fn collect<'a>(
    scope: &str,
    message: &'a prost_types::DescriptorProto,
    all: &mut Vec<(String, &'a prost_types::DescriptorProto)>,
) {
    let name = format!("{scope}.{}", message.name());
    for nested in &message.nested_type {
        collect(&name, nested, all);
    }
    all.push((name, message));
}

fn shape(message: &prost_types::DescriptorProto, names: &HashMap<String, usize>) -> Shape {
    let parts = message.field.iter().filter_map(|field| {
        let part = match field.r#type() {
            Type::Message => Part::Message(*names.get(field.type_name().trim_start_matches('.'))?),
            Type::String | Type::Bytes | Type::Group => return None,
            Type::Double | Type::Fixed64 | Type::Sfixed64 => Part::Packed(8),
            Type::Float | Type::Fixed32 | Type::Sfixed32 => Part::Packed(4),
            _ => Part::Packed(1),
        };
        Some((u32::try_from(field.number()).ok()?, part))
    });
    Shape(parts.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1 as pb;

    /// A field that holds these bytes.
    fn field(number: u32, inside: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        prost::encoding::encode_key(number, WireType::LengthDelimited, &mut bytes);
        prost::encoding::encode_varint(inside.len() as u64, &mut bytes);
        bytes.extend_from_slice(inside);
        bytes
    }

    #[test]
    fn a_message_of_very_many_empty_messages_is_refused() {
        let bomb = field(1, &[]).repeat(ITEMS + 1);
        assert!(bomb.len() < 1024 * 1024, "few bytes");
        let error = check::<pb::WatchRequest>(&bomb).unwrap_err();
        assert!(error.contains("fields"), "{error}");
        check::<pb::WatchRequest>(&field(1, &[]).repeat(ITEMS)).unwrap();
        // The same one level deeper: a list of projects with many services each.
        let services = pb::Project::default();
        assert_eq!(
            pb::ListProjectsResponse::decode(&*field(1, &services.encode_to_vec())).unwrap().projects.len(),
            1
        );
        let inner = (1..60).find(|number| {
            let one = field(*number, &[]).repeat(2);
            pb::Project::decode(&*one).is_ok_and(|project| project.services.len() == 2)
        });
        let bomb = field(1, &field(inner.unwrap(), &[]).repeat(ITEMS / 2));
        check::<pb::ListProjectsResponse>(&bomb).unwrap();
        check::<pb::ListProjectsResponse>(&bomb.repeat(3)).unwrap_err();
    }

    #[test]
    fn bytes_and_texts_count_once_whatever_is_in_them() {
        let text = field(1, &vec![b'\n'; 4 * ITEMS]);
        check::<pb::GetProjectRequest>(&text).unwrap();
    }

    #[test]
    fn what_is_no_message_is_left_to_the_decoder() {
        for bytes in [&[0xff; 20][..], &[0x0a, 0x7f][..], &[0x0b][..]] {
            check::<pb::WatchRequest>(bytes).unwrap();
            assert!(pb::WatchRequest::decode(bytes).is_err());
        }
    }

    #[test]
    fn servers_decode_requests_and_clients_responses() {
        let files = FileDescriptorSet::decode(crate::DESCRIPTORS).unwrap();
        let methods: Vec<_> = files.file.iter().flat_map(|f| &f.service).flat_map(|s| &s.method).collect();
        assert!(methods.len() > 20, "the descriptors are there");
        for method in methods {
            assert!(method.input_type().ends_with("Request"), "{method:?}");
            assert!(method.output_type().ends_with("Response"), "{method:?}");
        }
        assert_eq!(malformed::<pb::WatchRequest>("x").code(), tonic::Code::InvalidArgument);
        assert_eq!(malformed::<pb::WatchResponse>("x").code(), tonic::Code::Internal);
    }
}
