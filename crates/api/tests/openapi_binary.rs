//! OpenAPI documents in their binary forms, read back by a reader of the test's own from what gnostic's `OpenAPIv2.proto` and
//! `OpenAPIv3.proto` say.

use std::collections::HashMap;

use knarr_api::{Schemas, builtin, encode, openapi};
use knarr_json::{Map, Value, json};

/// A message a line: its name, then `field=number:type`. Types: `s`tring, `b`ool, `i`nt64, `d`ouble, `a`ny (as YAML), a
/// message; `[]` repeats, `x` are extensions. `?` is one of several and `{}` a map of names, whose fields have no names of their own.
const V2: &str = "
Document swagger=1:s info=2:Info paths=8:Paths definitions=9:Definitions security=12:[]Requirement securityDefinitions=13:SecurityDefinitions *=16:x
Info title=1:s version=2:s description=3:s termsOfService=4:s *=7:x
{}Paths 2:PathItem
PathItem $ref=1:s get=2:Operation put=3:Operation post=4:Operation delete=5:Operation options=6:Operation head=7:Operation patch=8:Operation parameters=9:[]ParametersItem *=10:x
Operation tags=1:[]s summary=2:s description=3:s operationId=5:s produces=6:[]s consumes=7:[]s parameters=8:[]ParametersItem responses=9:Responses schemes=10:[]s deprecated=11:b security=12:[]Requirement *=13:x
?ParametersItem 1:Parameter 2:JsonReference
?Parameter 1:BodyParameter 2:NonBodyParameter
?NonBodyParameter 1:HeaderParameter 3:QueryParameter 4:PathParameter
JsonReference $ref=1:s description=2:s
BodyParameter description=1:s name=2:s in=3:s required=4:b schema=5:Schema *=6:x
HeaderParameter required=1:b in=2:s description=3:s name=4:s type=5:s format=6:s uniqueItems=19:b *=22:x
QueryParameter required=1:b in=2:s description=3:s name=4:s allowEmptyValue=5:b type=6:s format=7:s uniqueItems=20:b *=23:x
PathParameter required=1:b in=2:s description=3:s name=4:s type=5:s format=6:s uniqueItems=19:b *=22:x
{}Responses 1:ResponseValue
?ResponseValue 1:Response 2:JsonReference
Response description=1:s schema=2:SchemaItem *=5:x
?SchemaItem 1:Schema
{}Definitions 1:Schema
{}Properties 1:Schema
Schema $ref=1:s format=2:s title=3:s description=4:s default=5:a multipleOf=6:d maximum=7:d exclusiveMaximum=8:b minimum=9:d exclusiveMinimum=10:b maxLength=11:i minLength=12:i pattern=13:s maxItems=14:i minItems=15:i uniqueItems=16:b maxProperties=17:i minProperties=18:i required=19:[]s enum=20:[]a additionalProperties=21:AdditionalProperties type=22:TypeItem items=23:ItemsItem allOf=24:[]Schema properties=25:Properties discriminator=26:s readOnly=27:b example=30:a *=31:x
?AdditionalProperties 1:Schema 2:b
?TypeItem 1:s
?ItemsItem 1:Schema
{}SecurityDefinitions 1:SecurityDefinition
?SecurityDefinition 2:ApiKey
ApiKey type=1:s name=2:s in=3:s description=4:s *=5:x
{}Requirement 1:StringArray
StringArray =1:[]s
";

const V3: &str = "
Document openapi=1:s info=2:Info paths=4:Paths components=5:Components security=6:[]Requirement *=9:x
Info title=1:s description=2:s termsOfService=3:s version=6:s *=7:x summary=8:s
{}Paths 1:PathItem
PathItem $ref=1:s summary=2:s description=3:s get=4:Operation put=5:Operation post=6:Operation delete=7:Operation options=8:Operation head=9:Operation patch=10:Operation trace=11:Operation parameters=13:[]ParameterOr *=14:x
Operation tags=1:[]s summary=2:s description=3:s operationId=5:s parameters=6:[]ParameterOr requestBody=7:RequestBodyOr responses=8:Responses deprecated=10:b security=11:[]Requirement *=13:x
?ParameterOr 1:Parameter 2:Reference
Parameter name=1:s in=2:s description=3:s required=4:b deprecated=5:b allowEmptyValue=6:b style=7:s explode=8:b allowReserved=9:b schema=10:SchemaOr example=11:a content=13:MediaTypes *=14:x
?RequestBodyOr 1:RequestBody 2:Reference
RequestBody description=1:s content=2:MediaTypes required=3:b *=4:x
{}Responses 2:ResponseOr
?ResponseOr 1:Response 2:Reference
Response description=1:s content=3:MediaTypes *=5:x
{}MediaTypes 1:MediaType
MediaType schema=1:SchemaOr example=2:a *=5:x
Components schemas=1:Schemas parameters=3:Parameters securitySchemes=7:SecuritySchemes *=10:x
{}Schemas 1:SchemaOr
{}Parameters 1:ParameterOr
{}SecuritySchemes 1:SecuritySchemeOr
?SecuritySchemeOr 1:SecurityScheme 2:Reference
SecurityScheme type=1:s description=2:s name=3:s in=4:s scheme=5:s bearerFormat=6:s *=9:x
Reference $ref=1:s summary=2:s description=3:s
?SchemaOr 1:Schema 2:Reference
Schema nullable=1:b readOnly=3:b writeOnly=4:b example=7:a deprecated=8:b title=9:s multipleOf=10:d maximum=11:d exclusiveMaximum=12:b minimum=13:d exclusiveMinimum=14:b maxLength=15:i minLength=16:i pattern=17:s maxItems=18:i minItems=19:i uniqueItems=20:b maxProperties=21:i minProperties=22:i required=23:[]s enum=24:[]a type=25:s allOf=26:[]SchemaOr oneOf=27:[]SchemaOr anyOf=28:[]SchemaOr not=29:Schema items=30:ItemsItem properties=31:Schemas additionalProperties=32:AdditionalProperties default=33:Default description=34:s format=35:s *=36:x
?ItemsItem 1:SchemaOr
?AdditionalProperties 1:SchemaOr 2:b
?Default 1:d 2:b 3:s
{}Requirement 1:StringArray
StringArray =1:[]s
";

#[derive(Clone, Copy, PartialEq)]
enum Form {
    Plain,
    OneOf,
    Named,
}

struct Message {
    form: Form,
    /// By number: name and type.
    fields: HashMap<u64, (&'static str, &'static str)>,
}

struct Reader(HashMap<&'static str, Message>);

impl Reader {
    fn new(text: &'static str) -> Self {
        let lines = text.lines().filter(|l| !l.is_empty());
        let message = |line: &'static str| {
            let mut words = line.split(' ');
            let name = words.next().unwrap();
            let (form, name) = match (name.strip_prefix('?'), name.strip_prefix("{}")) {
                (Some(name), _) => (Form::OneOf, name),
                (_, Some(name)) => (Form::Named, name),
                _ => (Form::Plain, name),
            };
            let fields = words.map(|word| {
                let (field, kind) = word.rsplit_once(':').unwrap();
                let (field, number) = field.split_once('=').unwrap_or(("", field));
                (number.parse().unwrap(), (field, kind))
            });
            let fields = fields.collect();
            (name, Message { form, fields })
        };
        Reader(lines.map(message).collect())
    }

    fn message(&self, name: &str, bytes: &[u8]) -> Value {
        let message = &self.0[name];
        let mut out = Map::new();
        for (number, content) in fields(bytes) {
            let Some((field, kind)) = message.fields.get(&number) else {
                panic!("{name} has no field {number}");
            };
            match message.form {
                Form::OneOf => return self.value(kind, content),
                Form::Named => self.entry(kind, content, &mut out),
                Form::Plain if *kind == "x" => self.entry("a", content, &mut out),
                Form::Plain => match kind.strip_prefix("[]") {
                    Some(kind) => {
                        let list = out.entry(*field).or_insert_with(|| json!([]));
                        let value = self.value(kind, content);
                        list.as_array_mut().unwrap().push(value);
                    }
                    None => {
                        let before = out.insert((*field).to_owned(), self.value(kind, content));
                        assert_eq!(before, None, "{name}.{field} comes twice");
                    }
                },
            }
        }
        match name {
            "StringArray" => out.remove("").unwrap_or_else(|| json!([])),
            _ => out.into(),
        }
    }

    /// A pair of name and value.
    fn entry(&self, kind: &str, content: Content, out: &mut Map) {
        let (mut name, mut value) = (String::new(), Value::Null);
        for (number, content) in fields(content.bytes()) {
            match number {
                1 => name = String::from_utf8(content.bytes().to_vec()).unwrap(),
                2 => value = self.value(kind, content),
                other => panic!("field {other} of a pair"),
            }
        }
        assert_eq!(out.insert(name.clone(), value), None, "{name} comes twice");
    }

    fn value(&self, kind: &str, content: Content) -> Value {
        match kind {
            "s" => std::str::from_utf8(content.bytes()).unwrap().into(),
            "b" => (content.number() == 1).into(),
            "i" => content.number().into(),
            "d" => {
                let number = f64::from_bits(content.number());
                // JSON has one kind of number.
                if number.fract() == 0.0 {
                    (number as i64).into()
                } else {
                    number.into()
                }
            }
            "a" => {
                let (number, yaml) = fields(content.bytes()).next().unwrap();
                assert_eq!(number, 2);
                serde_json::from_slice(yaml.bytes()).unwrap()
            }
            message => self.message(message, content.bytes()),
        }
    }
}

#[derive(Clone, Copy)]
enum Content<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Content<'a> {
    fn bytes(self) -> &'a [u8] {
        match self {
            Content::Bytes(bytes) => bytes,
            Content::Number(n) => panic!("{n} in place of bytes"),
        }
    }

    fn number(self) -> u64 {
        match self {
            Content::Number(n) => n,
            Content::Bytes(_) => panic!("bytes in place of a number"),
        }
    }
}

/// The fields of a message as they stand on the wire.
fn fields(mut bytes: &[u8]) -> impl Iterator<Item = (u64, Content<'_>)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = bytes[0];
            *bytes = &bytes[1..];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return value;
            }
            shift += 7;
        }
    }
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let tag = varint(&mut bytes);
        let content = match tag & 7 {
            0 => Content::Number(varint(&mut bytes)),
            1 => {
                let (number, rest) = bytes.split_at(8);
                bytes = rest;
                Content::Number(u64::from_le_bytes(number.try_into().unwrap()))
            }
            2 => {
                let len = varint(&mut bytes) as usize;
                let (content, rest) = bytes.split_at(len);
                bytes = rest;
                Content::Bytes(content)
            }
            other => panic!("wire type {other}"),
        };
        Some((tag >> 3, content))
    })
}

fn same(path: &str, want: &Value, got: &Value) {
    match (want, got) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys()) {
                let path = format!("{path}.{key}");
                same(
                    &path,
                    a.get(key).unwrap_or(&Value::Null),
                    b.get(key).unwrap_or(&Value::Null),
                );
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (n, (a, b)) in a.iter().zip(b).enumerate() {
                same(&format!("{path}[{n}]"), a, b);
            }
        }
        (a, b) => assert_eq!(a, b, "{path}"),
    }
}

/// Without what the binary form of version 3 cannot tell: defaults that are objects or lists, which are empty ones here.
fn tellable(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|key, v| key != "default" || (*v != json!({}) && *v != json!([])));
            map.values_mut().for_each(tellable);
        }
        Value::Array(list) => list.iter_mut().for_each(tellable),
        _ => {}
    }
}

#[test]
fn version_2_says_the_same_in_both_forms() {
    let document = openapi::v2(&builtin::registry(), &Schemas::default());
    assert!(document["definitions"].as_object().unwrap().len() > 500);
    let got = Reader::new(V2).message("Document", &encode::openapi::v2(&document));
    same("", &document, &got);
}

#[test]
fn version_3_says_the_same_in_both_forms() {
    let (registry, schemas) = (builtin::registry(), Schemas::default());
    let reader = Reader::new(V3);
    let mut documents: Vec<Value> = openapi::group_versions(&registry)
        .iter()
        .map(|(g, v)| openapi::v3(&registry, &schemas, g, v).unwrap())
        .collect();
    documents.extend(openapi::documents(&registry, &schemas).into_values());
    assert!(documents.len() > 20, "{}", documents.len());
    for mut document in documents {
        let got = reader.message("Document", &encode::openapi::v3(&document));
        tellable(&mut document);
        same("", &document, &got);
    }
}

#[test]
fn every_keyword_of_a_schema_is_told() {
    let schema = json!({
        "type": "object", "description": "d", "title": "t", "format": "f", "nullable": true, "multipleOf": 0.5, "maximum": 7,
        "exclusiveMaximum": true, "minimum": -1.5, "exclusiveMinimum": false, "maxLength": 3, "minLength": 0, "pattern": "^a",
        "maxItems": 1, "minItems": 1, "uniqueItems": true, "maxProperties": 4, "minProperties": 2, "required": ["a", "b"],
        "enum": ["x", 1, null, {"k": [true]}], "allOf": [{"$ref": "#/a", "description": "r"}], "oneOf": [{"required": ["a"]}],
        "anyOf": [{"type": "string"}], "not": {"type": "integer"}, "items": {"$ref": "#/b"}, "properties": {"p": {"default": "v"}, "q": {"default": 2}},
        "additionalProperties": false, "example": [1], "x-kubernetes-validations": [{"rule": "a \"b\"\n"}],
    });
    let document = json!({"openapi": "3.0.0", "components": {"schemas": {"S": schema}}});
    let got = Reader::new(V3).message("Document", &encode::openapi::v3(&document));
    same("", &document, &got);
}
