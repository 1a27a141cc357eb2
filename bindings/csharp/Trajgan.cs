// trajgan for C#: learn pointer movements from recordings, make new ones. A thin layer over libtrajgan.
//
//     using (var data = Dataset.Open("recordings/"))
//     using (var model = new Model())
//     {
//         model.Train(data, Stage.Autoencoder);
//         model.Train(data, Stage.Gan);
//         foreach (Point p in model.Path(new Place(100, 100), new Place(900, 500)).Points) MoveTo(p.X, p.Y, p.TMs);
//     }
//
// trajgan.h has the meaning of every call and option; here is only what C# adds. null for options means their defaults. A
// call that fails throws TrajganException and has changed nothing. Sampling, Save, Info and Evaluate may run on one model on
// many threads at once; Train, Push and all of a Stream may not. What is disposed of, or not reached any more, is freed.
using System;
using System.Runtime.ExceptionServices;
using System.Runtime.InteropServices;

namespace Trajgan
{
    public static class Library
    {
        public static string Version => Native.Text(Native.tg_version());

        /// <summary>Throws if a model cannot be on a device, and says why.</summary>
        public static void CheckDevice(Device device) => Native.Check(Native.tg_device_check((int)device));

        /// <summary>"TG_ERR_IO".</summary>
        public static string NameOf(Status status) => Native.Text(Native.tg_status_name((int)status));
    }

    /// <summary>A place on the screen, in pixels.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct Place
    {
        public double X, Y;

        public Place(double x, double y)
        {
            X = x;
            Y = y;
        }
    }

    /// <summary>Those of a path.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct Ends
    {
        public Place From, To;

        public Ends(Place from, Place to)
        {
            From = from;
            To = to;
        }
    }

    /// <summary>From one place to another.</summary>
    public sealed class Path
    {
        public Point[] Points { get; }

        /// <summary>Scaled and forced: see tg_path_flag.</summary>
        public PathFlag Flags { get; }

        internal Path(Point[] points, PathFlag flags)
        {
            Points = points;
            Flags = flags;
        }
    }

    /// <summary>Movements as the model's numbers: movement i is Steps x Dim of Values from i * Steps * Dim on.</summary>
    public sealed class Features
    {
        public float[] Values { get; set; }
        public int Steps { get; set; }
        public int Dim { get; set; }
        public uint[] Lengths { get; set; }
    }

    /// <summary>Recorded movements to learn from.</summary>
    public sealed class Dataset : IDisposable
    {
        internal readonly DatasetHandle Handle;

        /// <summary>Empty, to push movements to.</summary>
        public Dataset(int conditionDim = 1)
        {
            Native.Check(Native.tg_dataset_new(Rows.Count(nameof(conditionDim), conditionDim), out Handle));
        }

        private Dataset(DatasetHandle handle) => Handle = handle;

        /// <summary>A file or folder of recordings, or a folder of arrays.</summary>
        public static Dataset Open(string path, ReadOptions options = null)
        {
            Native.Check(Native.tg_dataset_open(Native.Path(path), options, out DatasetHandle handle));
            return new Dataset(handle);
        }

        /// <summary>One movement. condition: null, or ConditionDim numbers.</summary>
        public void Push(Point[] points, double[] condition = null)
        {
            if (condition != null) Rows.Expect(nameof(condition), condition.Length, ConditionDim);
            Native.Check(Native.tg_dataset_push(Handle, points, Rows.Size(points?.Length ?? 0), condition));
        }

        /// <summary>Movements.</summary>
        public int Count => checked((int)Native.tg_dataset_len(Handle));

        public int ConditionDim => checked((int)Native.tg_dataset_condition_dim(Handle));

        /// <summary>JSON.</summary>
        public string Info()
        {
            return Native.Text(4096, (byte[] to, UIntPtr room, out UIntPtr needed) => Native.tg_dataset_info(Handle, to, room, out needed));
        }

        public void Dispose() => Handle.Dispose();
    }

    /// <summary>A path under way. It keeps what it needs of its model.</summary>
    public sealed class Stream : IDisposable
    {
        private readonly StreamHandle handle;
        private readonly Point[] one = new Point[1];

        internal Stream(StreamHandle handle) => this.handle = handle;

        /// <summary>The next point; false: the path has ended.</summary>
        public bool Next(out Point point)
        {
            bool more = Next(one) == 1;
            point = one[0];
            return more;
        }

        /// <summary>Fills an array with the next points and returns how many came; fewer: the path has ended.</summary>
        public int Next(Point[] to)
        {
            Native.Check(Native.tg_stream_next(handle, to, Rows.Size(to.Length), out UIntPtr written));
            return (int)written;
        }

        /// <summary>Another end for the rest of the way.</summary>
        public void Aim(Place to) => Native.Check(Native.tg_stream_aim(handle, to.X, to.Y));

        /// <summary>Where the pointer is at a time; ended: that is behind the last point, or Next has said that the path has
        /// ended.</summary>
        public Point At(double tMs, out bool ended)
        {
            Native.Check(Native.tg_stream_at(handle, tMs, out Point point, out uint over));
            ended = over != 0;
            return point;
        }

        public void Dispose() => handle.Dispose();
    }

    /// <summary>A model, trained or not.</summary>
    public sealed class Model : IDisposable
    {
        private readonly ModelHandle handle;
        private volatile bool disposed;
        // The library is told of buffers as large as this says: nobody else may change it.
        private readonly ModelOptions sizes;

        /// <summary>What the model is: its sizes. Each time a copy.</summary>
        public ModelOptions Options => sizes.Copy();

        /// <summary>With initial weights.</summary>
        public Model(ModelOptions options = null, Device device = Device.Auto)
        {
            Native.Check(Native.tg_model_new(options, (int)device, out handle));
            sizes = new ModelOptions(handle);
        }

        private Model(ModelHandle handle)
        {
            this.handle = handle;
            sizes = new ModelOptions(handle);
        }

        /// <summary>What Save has written.</summary>
        public static Model Load(string path, Device device = Device.Auto)
        {
            Native.Check(Native.tg_model_load(Native.Path(path), (int)device, out ModelHandle handle));
            return new Model(handle);
        }

        /// <summary>With all that training needs to go on, whole or not at all.</summary>
        public void Save(string path) => Native.Check(Native.tg_model_save(handle, Native.Path(path)));

        /// <summary>All there is to know about the model, as JSON.</summary>
        public string Info()
        {
            return Native.Text(16384, (byte[] to, UIntPtr room, out UIntPtr needed) => Native.tg_model_info(handle, to, room, out needed));
        }

        /// <summary>The settings that the model would be trained with.</summary>
        public TrainOptions TrainOptions(Stage stage) => new TrainOptions(stage, handle);

        /// <summary>Trains one stage, or goes on with it. onProgress is asked after every iteration, on this thread: false stops,
        /// and Train returns false; so does Dispose, from any thread. What onProgress throws comes out of Train. checkpointPath: where
        /// checkpoints go, or null. options are copied: they may be those of other trainings, too.</summary>
        public bool Train(
            Dataset data, Stage stage, TrainOptions options = null, Func<Progress, bool> onProgress = null, string checkpointPath = null)
        {
            options = options?.Copy() ?? TrainOptions(stage);
            ExceptionDispatchInfo thrown = null;
            Native.ProgressFn watch = (progress, _) =>
            {
                // No exception may unwind the library.
                try
                {
                    bool goOn = onProgress == null || onProgress((Progress)Marshal.PtrToStructure(progress, typeof(Progress)));
                    return goOn && !disposed ? 0 : 1;
                }
                catch (Exception error)
                {
                    thrown = ExceptionDispatchInfo.Capture(error);
                    return 1;
                }
            };
            byte[] path = Native.Path(checkpointPath);
            GCHandle pinned = GCHandle.Alloc(path, GCHandleType.Pinned);
            Status status;
            try
            {
                options.checkpointPath = path == null ? IntPtr.Zero : pinned.AddrOfPinnedObject();
                options.onProgress = Marshal.GetFunctionPointerForDelegate(watch);
                status = Native.tg_train_stage(handle, data.Handle, (int)stage, options);
                GC.KeepAlive(watch);
                if (thrown == null && status != Status.Cancelled) Native.Check(status);
            }
            finally
            {
                pinned.Free();
            }
            thrown?.Throw();
            return status == Status.Ok;
        }

        // Room for each movement: longer ones are refused by the library.
        private int Steps(SampleOptions options)
        {
            uint most = sizes.MaxSeqLen;
            return (int)(options == null || options.SeqLen == 0 ? most : Math.Min(options.SeqLen, most));
        }

        private void CheckConditions(double[] conditions, int count)
        {
            if (conditions != null) Rows.Expect(nameof(conditions), conditions.Length, checked(count * (int)sizes.ConditionDim));
        }

        /// <summary>count movements. conditions: null for those of the training data, or count x ConditionDim numbers.</summary>
        public Point[][] Generate(int count, double[] conditions = null, SampleOptions options = null)
        {
            CheckConditions(conditions, count);
            int stride = Steps(options);
            Point[] points = Rows.Room<Point>(nameof(count), count, stride);
            var lengths = new uint[count];
            Native.Check(Native.tg_generate(handle, conditions, Rows.Size(count), options, points, Rows.Size(stride), lengths));
            return Rows.Of(points, stride, lengths);
        }

        /// <summary>The same movements as the model's own numbers in [-1,1].</summary>
        public Features GenerateFeatures(int count, double[] conditions = null, SampleOptions options = null)
        {
            CheckConditions(conditions, count);
            var made = new Features { Steps = Steps(options), Dim = (int)sizes.FeatureDim };
            made.Values = Rows.Room<float>(nameof(count), count, checked(made.Steps * made.Dim));
            made.Lengths = new uint[count];
            Native.Check(Native.tg_generate_features(
                handle, conditions, Rows.Size(count), options, made.Values, Rows.Size(made.Values.Length), made.Lengths));
            return made;
        }

        /// <summary>Summaries of movements, SummaryDim numbers each. threads: 0 is one per core.</summary>
        public float[][] Encode(Point[][] movements, int threads = 1)
        {
            int stride = 0, dim = (int)sizes.SummaryDim;
            foreach (Point[] movement in movements) stride = Math.Max(stride, movement.Length);
            Point[] points = Rows.Room<Point>(nameof(movements), movements.Length, stride);
            var lengths = new uint[movements.Length];
            for (int i = 0; i < movements.Length; i++)
            {
                movements[i].CopyTo(points, i * stride);
                lengths[i] = (uint)movements[i].Length;
            }
            float[] summaries = Rows.Room<float>(nameof(movements), movements.Length, dim);
            Native.Check(Native.tg_encode(
                handle, points, Rows.Size(stride), lengths, Rows.Size(movements.Length), Rows.Count(nameof(threads), threads), summaries,
                Rows.Size(summaries.Length)));
            return Rows.Of(summaries, dim);
        }

        /// <summary>Movements of the given lengths for summaries. V6 only.</summary>
        public Point[][] Decode(float[][] summaries, uint[] lengths, int threads = 1)
        {
            float[] flat = ToDecode(summaries, lengths);
            int stride = (int)sizes.MaxSeqLen;
            Point[] points = Rows.Room<Point>(nameof(lengths), lengths.Length, stride);
            Native.Check(Native.tg_decode(
                handle, flat, lengths, Rows.Size(lengths.Length), Rows.Count(nameof(threads), threads), points, Rows.Size(stride)));
            return Rows.Of(points, stride, lengths);
        }

        private float[] ToDecode(float[][] summaries, uint[] lengths)
        {
            Rows.Expect(nameof(lengths), lengths.Length, summaries.Length);
            int dim = (int)sizes.SummaryDim;
            float[] flat = Rows.Room<float>(nameof(summaries), summaries.Length, dim);
            for (int i = 0; i < summaries.Length; i++)
            {
                Rows.Expect($"{nameof(summaries)}[{i}]", summaries[i].Length, dim);
                summaries[i].CopyTo(flat, i * dim);
            }
            return flat;
        }

        /// <summary>Summaries of movements as the model's own numbers, SummaryDim each. V6 only.</summary>
        public float[][] EncodeFeatures(Features features, int threads = 1)
        {
            int dim = (int)sizes.SummaryDim;
            Rows.Expect(nameof(features), features.Values.Length, checked(features.Lengths.Length * features.Steps * (int)sizes.FeatureDim));
            float[] summaries = Rows.Room<float>(nameof(features), features.Lengths.Length, dim);
            Native.Check(Native.tg_encode_features(
                handle, features.Values, Rows.Size(features.Steps), features.Lengths, Rows.Size(features.Lengths.Length),
                Rows.Count(nameof(threads), threads), summaries, Rows.Size(summaries.Length)));
            return Rows.Of(summaries, dim);
        }

        /// <summary>The same movements as Decode's, as the model's own numbers in [-1,1]. V6 only.</summary>
        public Features DecodeFeatures(float[][] summaries, uint[] lengths, int threads = 1)
        {
            float[] flat = ToDecode(summaries, lengths);
            var made = new Features { Steps = (int)sizes.MaxSeqLen, Dim = (int)sizes.FeatureDim, Lengths = (uint[])lengths.Clone() };
            made.Values = Rows.Room<float>(nameof(lengths), lengths.Length, checked(made.Steps * made.Dim));
            Native.Check(Native.tg_decode_features(
                handle, flat, lengths, Rows.Size(lengths.Length), Rows.Count(nameof(threads), threads), made.Values,
                Rows.Size(made.Steps)));
            return made;
        }

        /// <summary>Summaries on the way from one to another, both included.</summary>
        public float[][] Interpolate(float[] from, float[] to, int steps)
        {
            int dim = (int)sizes.SummaryDim;
            Rows.Expect(nameof(from), from.Length, dim);
            Rows.Expect(nameof(to), to.Length, dim);
            float[] summaries = Rows.Room<float>(nameof(steps), steps, dim);
            Native.Check(Native.tg_interpolate(handle, from, to, Rows.Size(steps), summaries, Rows.Size(summaries.Length)));
            return Rows.Of(summaries, dim);
        }

        public Path Path(Place from, Place to, PathOptions options = null) => Paths(new[] { new Ends(from, to) }, options)[0];

        /// <summary>One for each pair of ends.</summary>
        public Path[] Paths(Ends[] ends, PathOptions options = null)
        {
            int stride = (int)sizes.MaxSeqLen;
            uint[] lengths = new uint[ends.Length], flags = new uint[ends.Length];
            while (true)
            {
                Point[] points = Rows.Room<Point>(nameof(ends), ends.Length, stride);
                Status status =
                    Native.tg_paths(handle, ends, Rows.Size(ends.Length), options, points, Rows.Size(stride), lengths, flags);
                // Polled: the lengths tell what it takes.
                int longest = 0;
                foreach (uint length in lengths) longest = Math.Max(longest, checked((int)length));
                if (status == Status.Buffer && longest > stride)
                {
                    stride = longest;
                    continue;
                }
                Native.Check(status);
                Point[][] rows = Rows.Of(points, stride, lengths);
                var paths = new Path[rows.Length];
                for (int i = 0; i < rows.Length; i++) paths[i] = new Path(rows[i], (PathFlag)flags[i]);
                return paths;
            }
        }

        /// <summary>The path that Path draws, point by point.</summary>
        public Stream Stream(Place from, Place to, PathOptions options = null)
        {
            Native.Check(Native.tg_stream_new(handle, from.X, from.Y, to.X, to.Y, options, out StreamHandle stream));
            return new Stream(stream);
        }

        /// <summary>Judges the model on the test split of data: a report as JSON and, if htmlPath is not null, also a page.</summary>
        public string Evaluate(Dataset data, EvaluateOptions options = null, string htmlPath = null)
        {
            byte[] page = Native.Path(htmlPath);
            return Native.Text(262144, (byte[] to, UIntPtr room, out UIntPtr needed) =>
                Native.tg_evaluate(handle, data.Handle, options, page, to, room, out needed));
        }

        /// <summary>Later calls are refused. Calls under way go on, but for a training, which stops; the last of them frees.</summary>
        public void Dispose()
        {
            disposed = true;
            handle.Dispose();
        }
    }
}
