//! Values as they are written.

/// A [`Value`](crate::Value) in the words of `serde_json::json!`: JSON with expressions in it. What is written out becomes
/// a value as it stands; other expressions are serialized.
#[macro_export]
macro_rules! json {
    (null) => { $crate::Value::Null };
    ([ $($items:tt)* ]) => {{
        #[allow(unused_mut)]
        let mut list = $crate::Array::new();
        $crate::json_items!(list $($items)*);
        $crate::Value::Array(list)
    }};
    ({ $($entries:tt)* }) => {{
        #[allow(unused_mut)]
        let mut map = $crate::Map::new();
        $crate::json_entries!(map $($entries)*);
        $crate::Value::Object(map)
    }};
    ($word:literal) => { $crate::Value::from($word) };
    ($value:expr) => { $crate::__private::leaf(&$value) };
}

/// The elements of a list, one by one.
#[doc(hidden)]
#[macro_export]
macro_rules! json_items {
    ($list:ident) => {};
    ($list:ident null $(, $($rest:tt)*)?) => {
        $list.push($crate::Value::Null);
        $($crate::json_items!($list $($rest)*);)?
    };
    ($list:ident [ $($inner:tt)* ] $(, $($rest:tt)*)?) => {
        $list.push($crate::json!([ $($inner)* ]));
        $($crate::json_items!($list $($rest)*);)?
    };
    ($list:ident { $($inner:tt)* } $(, $($rest:tt)*)?) => {
        $list.push($crate::json!({ $($inner)* }));
        $($crate::json_items!($list $($rest)*);)?
    };
    ($list:ident $value:expr $(, $($rest:tt)*)?) => {
        $list.push($crate::json!($value));
        $($crate::json_items!($list $($rest)*);)?
    };
}

/// The entries of a map, one by one.
#[doc(hidden)]
#[macro_export]
macro_rules! json_entries {
    ($map:ident) => {};
    ($map:ident $key:tt : null $(, $($rest:tt)*)?) => {
        $map.insert($key, $crate::Value::Null);
        $($crate::json_entries!($map $($rest)*);)?
    };
    ($map:ident $key:tt : [ $($inner:tt)* ] $(, $($rest:tt)*)?) => {
        $map.insert($key, $crate::json!([ $($inner)* ]));
        $($crate::json_entries!($map $($rest)*);)?
    };
    ($map:ident $key:tt : { $($inner:tt)* } $(, $($rest:tt)*)?) => {
        $map.insert($key, $crate::json!({ $($inner)* }));
        $($crate::json_entries!($map $($rest)*);)?
    };
    ($map:ident $key:tt : $value:expr $(, $($rest:tt)*)?) => {
        $map.insert($key, $crate::json!($value));
        $($crate::json_entries!($map $($rest)*);)?
    };
}
