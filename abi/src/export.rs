//! The macro that makes a library a plugin.

/// Exports a backend from a library. Once in a library, whose crate type is `cdylib`.
///
/// - `module`: the name in `database.module`; a lower-case word with `-`, ending in `-db-plugin` by custom.
/// - `aliases`: short names; may be empty.
/// - `vendor`, `licence`: texts for the operator.
/// - `capabilities`: names of [`Capability`](crate::model::Capability), the most that any handle of it promises.
/// - `config_schema`: JSON Schema of the settings block, a string constant. Secrets are marked `"writeOnly": true`.
/// - `open`: `fn(config: &str, host: Host) -> Result<impl Backend, Error>`; `config` is a JSON object that fits the schema.
///
/// It refuses to compile with `panic = "abort"`, under which one bug of the plugin would end the node.
#[macro_export]
macro_rules! export_backend {
    (
        module: $module:expr,
        aliases: [$($alias:expr),* $(,)?],
        vendor: $vendor:expr,
        licence: $licence:expr,
        capabilities: [$($capability:ident),* $(,)?],
        config_schema: $schema:expr,
        open: $open:expr $(,)?
    ) => {
        #[cfg(not(panic = "unwind"))]
        compile_error!("a storage plugin must be built with panic = \"unwind\": with \"abort\" one panic in it would end the node");

        const _: () = {
            const PARTS: $crate::manifest::Parts = $crate::manifest::Parts {
                module: $module,
                aliases: &[$($alias),*],
                version: env!("CARGO_PKG_VERSION"),
                vendor: $vendor,
                licence: $licence,
                panic: if cfg!(panic = "unwind") { "unwind" } else { "abort" },
                capabilities: &[$($crate::model::Capability::$capability),*],
                config_schema: $schema,
            };

            // Without `used` the section vanishes when the linker sees the whole program.
            #[used]
            #[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__hivemind"))]
            #[cfg_attr(windows, unsafe(link_section = ".hvmind"))]
            #[cfg_attr(not(any(target_vendor = "apple", windows)), unsafe(link_section = ".hivemind"))]
            static MANIFEST: [u8; $crate::manifest::length(&PARTS)] = $crate::manifest::json(&PARTS);

            struct Exported;

            impl $crate::plugin::Plugin for Exported {
                fn manifest() -> &'static str {
                    ::core::str::from_utf8(&MANIFEST).unwrap_or("")
                }

                fn open(
                    config: &str,
                    host: $crate::Host,
                ) -> ::core::result::Result<::std::boxed::Box<dyn $crate::Backend>, $crate::model::Error> {
                    let backend = ($open)(config, host)?;
                    ::core::result::Result::Ok(::std::boxed::Box::new(backend))
                }
            }

            // The symbol that abi_stable looks for; see `abi_stable::library::ROOT_MODULE_LOADER_NAME`.
            #[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
            pub static HEADER: $crate::abi_stable::library::LibHeader = $crate::plugin::header::<Exported>();
        };
    };
}
