//! The kernels that are launched, and the PTX text that they come in: kernels/gen, made by scripts/ptx.

use std::io::Read;

use lzma_rust2::LzmaReader;

/// Names, files and arguments of kernels. An argument is p (pointer), i (32 bits), l (64 bits), f (float) or d (double):
/// a test compares them with the PTX, a launch with what it passes.
macro_rules! kernels {
    ($($file:ident { $($name:ident: $arguments:literal,)* })*) => {
        /// A kernel, by its name in the PTX.
        #[allow(non_camel_case_types)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Kernel { $($($name,)*)* }

        impl Kernel {
            pub const ALL: &[Kernel] = &[$($(Kernel::$name,)*)*];

            pub fn name(self) -> &'static str {
                match self { $($(Kernel::$name => stringify!($name),)*)* }
            }

            /// One letter for each.
            pub fn arguments(self) -> &'static str {
                match self { $($(Kernel::$name => $arguments,)*)* }
            }

            /// Which of [`FILES`] it is in.
            pub fn file(self) -> File {
                match self { $($(Kernel::$name => File::$file,)*)* }
            }
        }

        /// A file of kernels, by its name.
        #[allow(non_camel_case_types)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum File { $($file,)* }

        impl File {
            pub const ALL: &[File] = &[$(File::$file,)*];

            pub fn name(self) -> &'static str {
                match self { $(File::$file => stringify!($file),)* }
            }

            /// Its PTX text without comments, as build.rs has packed it.
            pub fn ptx(self) -> std::io::Result<String> {
                let packed: &[u8] = match self {
                    $(File::$file => include_bytes!(concat!(env!("OUT_DIR"), "/", stringify!($file), ".ptx.lzma")),)*
                };
                let mut text = String::new();
                LzmaReader::new_mem_limit(packed, u32::MAX, None)?.read_to_string(&mut text)?;
                Ok(text)
            }
        }
    };
}

kernels! {
    expander {
        expander_forward_1: "pppppppppppppppiiii",
        expander_forward_4: "pppppppppppppppiiii",
        expander_forward_16: "pppppppppppppppiiii",
        expander_backward_1: "pppppppppppppiiii",
        expander_backward_4: "pppppppppppppiiii",
    }
    expander_cluster {
        expander_forward_cluster: "pppppppppppppppiiiipip",
        expander_backward_cluster: "pppppppppppppiiiipip",
    }
    expander_group {
        expander_forward_group: "pppppppppppppppiiiipip",
        expander_backward_group: "pppppppppppppiiiipip",
    }
    gan {
        interpolate: "pppppi",
        penalty_direction: "pppdpi",
        feature_matching: "ppppdpi",
        choose_rows: "ppppppiii",
        take_slot: "pppii",
        end_iteration: "pppi",
    }
    losses {
        squared_error: "ppppfpi",
        binary_loss: "pppppp",
        categorical_loss: "pppippppii",
        sum_doubles: "ppdpiii",
        mean_floats: "ppdpi",
        store_losses: "ppppi",
    }
    lstm {
        lstm_forward_1: "pppppppipppi",
        lstm_forward_4: "pppppppipppi",
        lstm_forward_16: "pppppppipppi",
        lstm_backward_1: "pppppppipppi",
        lstm_backward_4: "pppppppipppi",
    }
    lstm_resident {
        lstm_forward_h64: "pppppppipppi",
        lstm_backward_h64: "pppppppipppi",
        lstm_forward_h96: "pppppppipppi",
        lstm_backward_h96: "pppppppipppi",
        lstm_forward_h128: "pppppppipppi",
        lstm_backward_h128: "pppppppipppi",
    }
    matrix {
        matrix_forward: "pppppppiiii",
        matrix_forward_wide: "pppppppiiii",
        matrix_backward: "ppppppiiii",
        matrix_backward_wide: "ppppppiiii",
        matrix_gradient: "pppppppiiii",
        matrix_gradient_wide: "pppppppiiii",
        matrix_gradient_add: "pppppiiii",
        matrix_transpose: "ppiii",
    }
    matrix_tf32 {
        matrix_forward_tf32: "pppppppiiii",
    }
    norm {
        layer_norm_forward: "ppppppii",
        layer_norm_backward: "pppppi",
        layer_norm_tangent: "ppppppppi",
        layer_norm_tangent_backward: "ppppppppi",
        layer_norm_gradient: "ppppppppi",
    }
    optim {
        sum_squares: "ppppi",
        adam_step: "pppppppppi",
        move_average: "ppppi",
    }
    pool {
        attend: "ppppppi",
        attend_backward: "ppppppppi",
        pool_last: "pppppii",
        pool_mean: "pppppii",
        pool_max: "ppppppii",
        pool_backward: "pppppppppii",
    }
    random {
        normals: "pppiiilddi",
        uniforms: "pppiiil",
    }
    rows {
        fill: "pfpi",
        plus: "ppppi",
        product: "ppppii",
        copy_rows: "pppi",
        join_columns: "ppppii",
        split_columns: "ppppii",
        tanh_forward: "ppi",
        tanh_backward: "pppi",
        hold_rows: "ppffpi",
        centre_rows: "ppi",
        leaky_relu: "ppi",
        leaky_relu_backward: "pppi",
        swish: "ppppi",
        swish_backward: "pppppi",
        add_scaled_rows: "ppppi",
        add_row_dots: "ppppi",
        gather_rows: "ppppi",
    }
    spectral {
        spectral_normalise: "ppppiiii",
        spectral_finish: "ppppiii",
    }
    steps {
        shift_steps: "pppipppi",
        sum_steps: "pppppi",
        spread_steps: "pppppii",
        encode_positions: "ppppp",
        dropout_mask: "pppppiiif",
    }
    walk {
        walk: "ppppppppppppppddddiiiiiiii",
    }
    walker {
        embed: "ppppipi",
        scatter: "pppipi",
        add_profiles: "pppiipii",
        profiles_backward: "pppppiipii",
    }
}
