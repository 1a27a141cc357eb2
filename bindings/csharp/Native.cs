// The functions of trajgan.h.
using System;
using System.Runtime.ConstrainedExecution;
using System.Runtime.InteropServices;
using System.Text;

namespace Trajgan
{
    /// <summary>What a call that failed said. It has changed nothing.</summary>
    public sealed class TrajganException : Exception
    {
        public Status Status { get; }

        public TrajganException(Status status, string message) : base(message)
        {
            Status = status;
        }
    }

    /// <summary>Something of the library's. It is not freed while a call uses it.</summary>
    internal abstract class Handle : SafeHandle
    {
        protected Handle() : base(IntPtr.Zero, true) { }

        public override bool IsInvalid => handle == IntPtr.Zero;
    }

    internal sealed class DatasetHandle : Handle
    {
        [ReliabilityContract(Consistency.WillNotCorruptState, Cer.Success)]
        protected override bool ReleaseHandle()
        {
            Native.tg_dataset_free(handle);
            return true;
        }
    }

    internal sealed class ModelHandle : Handle
    {
        [ReliabilityContract(Consistency.WillNotCorruptState, Cer.Success)]
        protected override bool ReleaseHandle()
        {
            Native.tg_model_free(handle);
            return true;
        }
    }

    internal sealed class StreamHandle : Handle
    {
        [ReliabilityContract(Consistency.WillNotCorruptState, Cer.Success)]
        protected override bool ReleaseHandle()
        {
            Native.tg_stream_free(handle);
            return true;
        }
    }

    internal static class Native
    {
        public const uint AbiVersion = 1;
        public const int MaxLayers = 16;

        private const string Library = "trajgan";

        [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
        public delegate int ProgressFn(IntPtr progress, IntPtr userData);

        static Native()
        {
            if (tg_abi_version() != AbiVersion)
                throw new TrajganException(Status.Version, $"the library is trajgan {Text(tg_version())}, of another ABI than this package");
        }

        public static void Check(Status status)
        {
            // The error is the thread's, which is still the same.
            if (status != Status.Ok) throw new TrajganException(status, Text(tg_last_error()));
        }

        public static UIntPtr SizeOf<T>() => (UIntPtr)Marshal.SizeOf(typeof(T));

        /// <summary>UTF-8 of the library's.</summary>
        public static string Text(IntPtr text)
        {
            int length = 0;
            while (Marshal.ReadByte(text, length) != 0) length++;
            var bytes = new byte[length];
            Marshal.Copy(text, bytes, 0, length);
            return Encoding.UTF8.GetString(bytes);
        }

        /// <summary>A path as the library takes it; null stays null.</summary>
        public static byte[] Path(string path)
        {
            if (path == null) return null;
            if (path.IndexOf('\0') >= 0) throw new TrajganException(Status.Argument, "a path with a null character");
            return Encoding.UTF8.GetBytes(path + "\0");
        }

        public delegate Status TextCall(byte[] to, UIntPtr room, out UIntPtr needed);

        /// <summary>Text of a call that tells what room it needs.</summary>
        public static string Text(int guess, TextCall call)
        {
            while (true)
            {
                var to = new byte[guess];
                Status status = call(to, (UIntPtr)guess, out UIntPtr needed);
                if (status == Status.Buffer && needed.ToUInt64() > (ulong)guess)
                {
                    guess = checked((int)needed);
                    continue;
                }
                Check(status);
                return Encoding.UTF8.GetString(to, 0, (int)needed - 1);
            }
        }

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        public static extern uint tg_abi_version();

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        public static extern IntPtr tg_version();

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        public static extern IntPtr tg_status_name(int status);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        public static extern Status tg_device_check(int device);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        public static extern IntPtr tg_last_error();

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        public static extern Status tg_dataset_new(uint conditionDim, out DatasetHandle dataset);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        public static extern Status tg_dataset_push(DatasetHandle data, Point[] points, UIntPtr count, double[] condition);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        public static extern Status tg_read_options_init([In, Out] ReadOptions options, UIntPtr structSize);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        public static extern Status tg_dataset_open(byte[] path, [In] ReadOptions options, out DatasetHandle dataset);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        public static extern UIntPtr tg_dataset_len(DatasetHandle data);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        public static extern uint tg_dataset_condition_dim(DatasetHandle data);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        public static extern Status tg_dataset_info(DatasetHandle data, [Out] byte[] json, UIntPtr capacity, out UIntPtr needed);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        public static extern void tg_dataset_free(IntPtr data);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        public static extern Status tg_model_options_init([In, Out] ModelOptions options, UIntPtr structSize, int preset, int decoder);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        public static extern Status tg_model_new([In] ModelOptions options, int device, out ModelHandle model);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        public static extern Status tg_model_load(byte[] path, int device, out ModelHandle model);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        public static extern Status tg_model_save(ModelHandle model, byte[] path);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        public static extern Status tg_model_options_get(ModelHandle model, [In, Out] ModelOptions options, UIntPtr structSize);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        public static extern Status tg_model_info(ModelHandle model, [Out] byte[] json, UIntPtr capacity, out UIntPtr needed);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        public static extern void tg_model_free(IntPtr model);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        public static extern Status tg_train_options_init([In, Out] TrainOptions options, UIntPtr structSize, int stage, ModelHandle model);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        public static extern Status tg_train_stage(ModelHandle model, DatasetHandle data, int stage, [In] TrainOptions options);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        public static extern Status tg_sample_options_init([In, Out] SampleOptions options, UIntPtr structSize);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        public static extern Status tg_generate(
            ModelHandle model, double[] conditions, UIntPtr count, [In] SampleOptions options, [Out] Point[] points, UIntPtr stride,
            [Out] uint[] lengths);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        public static extern Status tg_generate_features(
            ModelHandle model, double[] conditions, UIntPtr count, [In] SampleOptions options, [Out] float[] features,
            UIntPtr capacity, [Out] uint[] lengths);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        public static extern Status tg_encode(
            ModelHandle model, Point[] points, UIntPtr stride, uint[] lengths, UIntPtr count, uint threads, [Out] float[] summaries,
            UIntPtr capacity);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        public static extern Status tg_decode(
            ModelHandle model, float[] summaries, uint[] lengths, UIntPtr count, uint threads, [Out] Point[] points, UIntPtr stride);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        public static extern Status tg_encode_features(
            ModelHandle model, float[] features, UIntPtr stride, uint[] lengths, UIntPtr count, uint threads,
            [Out] float[] summaries, UIntPtr capacity);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        public static extern Status tg_decode_features(
            ModelHandle model, float[] summaries, uint[] lengths, UIntPtr count, uint threads, [Out] float[] features,
            UIntPtr stride);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        public static extern Status tg_interpolate(
            ModelHandle model, float[] from, float[] to, UIntPtr steps, [Out] float[] summaries, UIntPtr capacity);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        public static extern Status tg_path_options_init([In, Out] PathOptions options, UIntPtr structSize);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        public static extern Status tg_paths(
            ModelHandle model, Ends[] ends, UIntPtr count, [In] PathOptions options, [Out] Point[] points, UIntPtr stride,
            [Out] uint[] lengths, [Out] uint[] flags);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        public static extern Status tg_stream_new(
            ModelHandle model, double fromX, double fromY, double toX, double toY, [In] PathOptions options, out StreamHandle stream);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        public static extern Status tg_stream_next(StreamHandle stream, [Out] Point[] points, UIntPtr capacity, out UIntPtr written);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        public static extern Status tg_stream_aim(StreamHandle stream, double x, double y);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        public static extern Status tg_stream_at(StreamHandle stream, double tMs, out Point point, out uint ended);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        public static extern void tg_stream_free(IntPtr stream);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        public static extern Status tg_evaluate_options_init([In, Out] EvaluateOptions options, UIntPtr structSize);

        [DllImport(Library, CallingConvention = CallingConvention.Cdecl)]
        public static extern Status tg_evaluate(
            ModelHandle model, DatasetHandle data, [In] EvaluateOptions options, byte[] htmlPath, [Out] byte[] json, UIntPtr capacity,
            out UIntPtr needed);
    }
}
