// Against the real library: mcs -langversion:7 -out:tests.exe *.cs tests/*.cs && LD_LIBRARY_PATH=... mono tests.exe HEADER
using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Reflection;
using System.Runtime.InteropServices;
using System.Text.RegularExpressions;
using System.Threading;
using Trajgan;
using Path = Trajgan.Path;
using Stream = Trajgan.Stream;

internal static class Tests
{
    private const int Steps = 24;

    private static int Main(string[] arguments)
    {
        Header(File.ReadAllText(arguments[0]));
        Action[] tests = { DevicesAndNames, Data, Training, Sampling, Evaluation, PathsAndStreams, Shared };
        foreach (Action test in tests)
        {
            test();
            Console.WriteLine($"{test.Method.Name} passed");
        }
        return 0;
    }

    private static void Same<T>(T got, T expected)
    {
        if (!EqualityComparer<T>.Default.Equals(got, expected)) throw new Exception($"{got}, expected {expected}");
    }

    private static void AllSame<T>(IEnumerable<T> got, IEnumerable<T> expected)
    {
        if (!got.SequenceEqual(expected)) throw new Exception($"{string.Join(", ", got)}; expected {string.Join(", ", expected)}");
    }

    private static void Refused(Status status, string words, Action call)
    {
        try
        {
            call();
        }
        catch (TrajganException error)
        {
            Same(error.Status, status);
            if (!error.Message.Contains(words)) throw new Exception($"no '{words}' in '{error.Message}'");
            return;
        }
        throw new Exception($"not refused, expected {status} with '{words}'");
    }

    // The structs, numbers and functions of trajgan.h are ours.
    private static void Header(string text)
    {
        text = Regex.Replace(text, @"//[^\n]*|/\*.*?\*/", "", RegexOptions.Singleline);
        Func<string, string> Bare = name => name.Replace("_", "").ToLowerInvariant();
        Type[] all = typeof(Model).Assembly.GetTypes();
        Func<string, Type> Ours = name => all.Single(t => t.Namespace == "Trajgan" && Bare(t.Name) == Bare(name.Substring(3)));
        var kinds = new Dictionary<Type, string>
        {
            [typeof(uint)] = "uint32_t", [typeof(int)] = "int32_t", [typeof(ulong)] = "uint64_t", [typeof(double)] = "double",
            [typeof(IntPtr)] = "pointer",
        };
        int structs = 0;
        foreach (Match found in Regex.Matches(text, @"typedef struct \{(.*?)\} (\w+);", RegexOptions.Singleline))
        {
            structs++;
            FieldInfo[] ours = Ours(found.Groups[2].Value).GetFields(BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic);
            MatchCollection theirs = Regex.Matches(found.Groups[1].Value, @"^\s*([\w ]+?[ *]+)(\w+)(?:\[(\w+)\])?;", RegexOptions.Multiline);
            Same(ours.Length, theirs.Count);
            for (int i = 0; i < ours.Length; i++)
            {
                FieldInfo field = ours[i];
                GroupCollection of = theirs[i].Groups;
                string kind = of[1].Value.Trim(), count = of[3].Value.Replace("TG_MAX_LAYERS", "16");
                if (kind.EndsWith("*") || kind == "tg_progress_fn") kind = "pointer";
                Type type = field.FieldType;
                var array = field.GetCustomAttribute<MarshalAsAttribute>();
                if (type.IsArray) type = type.GetElementType();
                if (type.IsEnum) type = Enum.GetUnderlyingType(type);
                Same(Bare(field.Name) + " " + kinds[type] + " " + (array?.SizeConst.ToString() ?? ""),
                    Bare(of[2].Value) + " " + kind + " " + count);
            }
        }
        Same(structs, 8);
        int numbers = 0;
        foreach (Match found in Regex.Matches(text, @"typedef enum \{(.*?)\} (\w+);", RegexOptions.Singleline))
        {
            Type ours = Ours(found.Groups[2].Value);
            foreach (Match of in Regex.Matches(found.Groups[1].Value, @"TG_(\w+) = (-?\d+)"))
            {
                numbers++;
                string kind = Bare(ours.Name).Replace("status", "err").Replace("pathflag", "path"), name = Bare(of.Groups[1].Value);
                object member = Enum.Parse(ours, name.StartsWith(kind) ? name.Substring(kind.Length) : name, true);
                Same(Convert.ToInt32(member), int.Parse(of.Groups[2].Value));
            }
        }
        Same(numbers, all.Where(t => t.IsEnum && t.Namespace == "Trajgan").Sum(t => Enum.GetValues(t).Length));
        Type native = all.Single(t => t.Name == "Native");
        foreach (Match found in Regex.Matches(Regex.Replace(text, "typedef.*?;", ""), @"TG_API\s+[\w ]+?[ *](tg_\w+)\((.*?)\);", RegexOptions.Singleline))
        {
            string name = found.Groups[1].Value, given = found.Groups[2].Value;
            if (name == "tg_path") continue; // tg_paths does
            Same(native.GetMethod(name).GetParameters().Length, given == "void" ? 0 : given.Split(',').Length);
        }
    }

    private static ModelOptions Tiny(Decoder decoder) => new ModelOptions(Preset.Default, decoder)
    {
        MaxSeqLen = Steps, LatentDim = 8, SummaryDim = 8, NoiseDim = 8, EncoderHiddenDim = 8, DecoderHiddenDim = 8,
        ExpanderHiddenDim = 8, Seed = 1, GeneratorHiddenDims = new uint[] { 8 }, CriticHiddenDims = new uint[] { 8 },
    };

    private static Point[] Arc(int i)
    {
        var points = new Point[12 + i % 12];
        for (int k = 0; k < points.Length; k++)
        {
            double s = (double)k / (points.Length - 1), far = (100 + 10 * (i % 17)) * s * s * (3 - 2 * s);
            points[k] = new Point(50 + far * Math.Cos(0.3 * i), 80 + far * Math.Sin(0.3 * i), 1000 + 8 * k + k * i % 3);
        }
        return points;
    }

    private static Dataset Arcs(int count)
    {
        var data = new Dataset();
        for (int i = 0; i < count; i++) data.Push(Arc(i));
        return data;
    }

    private static TrainOptions Short(Model model, Stage stage, ulong iterations = 2)
    {
        TrainOptions options = model.TrainOptions(stage);
        (options.Iterations, options.BatchSize, options.NCritic, options.Threads) = (iterations, 8, 1, 1);
        return options;
    }

    private static Model Trained(Decoder decoder, int movements = 60)
    {
        var model = new Model(Tiny(decoder), Device.Cpu);
        using (Dataset data = Arcs(movements))
            foreach (Stage stage in new[] { Stage.Autoencoder, Stage.Gan })
                Same(model.Train(data, stage, Short(model, stage)), true);
        return model;
    }

    private static void InFolder(Action<string> test)
    {
        string folder = System.IO.Path.Combine(System.IO.Path.GetTempPath(), System.IO.Path.GetRandomFileName());
        Directory.CreateDirectory(folder);
        try
        {
            test(folder + "/");
        }
        finally
        {
            Directory.Delete(folder, true);
        }
    }

    private static void DevicesAndNames()
    {
        Library.CheckDevice(Device.Cpu);
        Refused(Status.Argument, "-7", () => Library.CheckDevice((Device)(-7)));
        Same(Library.NameOf(Status.Diverged), "TG_ERR_DIVERGED");
        Same(Regex.IsMatch(Library.Version, @"^\d+\.\d+\.\d+"), true);
        Refused(Status.Argument, "99", () => new ModelOptions((Preset)99));
    }

    private static void Data()
    {
        Dataset data = Arcs(60);
        AllSame(new[] { data.Count, data.ConditionDim }, new[] { 60, 1 });
        Same(data.Info().Contains("\"movements\":60"), true);
        Refused(Status.Argument, "", () => data.Push(Arc(1).Take(2).ToArray()));
        Refused(Status.Argument, "condition has 2, expected 1", () => data.Push(Arc(1), new double[] { 1, 2 }));
        Refused(Status.Argument, "", () => data.Push(null));
        var own = new Dataset(2);
        own.Push(Arc(1), new double[] { 120, 7 });
        Refused(Status.Argument, "-1", () => new Dataset(-1));
        Refused(Status.Io, "nowhere", () => Dataset.Open("nowhere"));
        Refused(Status.Argument, "null", () => Dataset.Open("a\0b"));
        Refused(Status.Argument, "path", () => Dataset.Open(null));
        InFolder(folder =>
        {
            File.WriteAllText(folder + "größe.json", "{\"x\":[0,5,30,60],\"y\":[0,1,2,3],\"t\":[0,8,16,24]}");
            Same(Dataset.Open(folder + "größe.json", new ReadOptions { CsvSeconds = 1 }).Count, 1);
        });
        data.Dispose();
        data.Dispose();
        try
        {
            data.Info();
            throw new Exception("a set that is gone can be asked");
        }
        catch (ObjectDisposedException)
        {
        }
    }

    private static void Training()
    {
        Dataset data = Arcs(60);
        var gone = new Model(Tiny(Decoder.ClosedLoop), Device.Cpu);
        int asked = 0;
        bool ended = gone.Train(data, Stage.Autoencoder, Short(gone, Stage.Autoencoder, 60), p =>
        {
            asked++;
            gone.Dispose();
            return true;
        });
        AllSame(new[] { ended, asked == 1 }, new[] { false, true });
        var model = new Model(Tiny(Decoder.ClosedLoop), Device.Cpu);
        Refused(Status.State, "", () => model.Train(data, Stage.Gan));
        TrainOptions options = Short(model, Stage.Autoencoder);
        options.LearningRate = -1;
        Refused(Status.Argument, "is -1", () => model.Train(data, Stage.Autoencoder, options));
        Refused(Status.Argument, "7", () => model.TrainOptions((Stage)7));
        InFolder(folder =>
        {
            options = Short(model, Stage.Autoencoder, 5);
            options.SaveInterval = 1;
            bool done = model.Train(data, Stage.Autoencoder, options, p => p.Iteration < 2, folder + "checkpoint");
            AllSame(new[] { done, File.Exists(folder + "checkpoint") }, new[] { false, true });
            // Whoever shares the options finds nothing of this training in them.
            Same(model.Train(data, Stage.Autoencoder, options, p =>
            {
                AllSame(new[] { options.checkpointPath, options.onProgress }, new[] { IntPtr.Zero, IntPtr.Zero });
                return false;
            }, folder + "checkpoint"), false);
            try
            {
                model.Train(data, Stage.Autoencoder, options, p => throw new DivideByZeroException());
                throw new Exception("nothing came out of Train");
            }
            catch (DivideByZeroException)
            {
            }
            var seen = new List<ulong>();
            Same(model.Train(data, Stage.Autoencoder, options, p =>
            {
                Refused(Status.State, "", () => model.Save(folder + "busy"));
                GC.Collect();
                seen.AddRange(new[] { p.Iteration, p.Iterations, (ulong)p.Stage, (ulong)p.ValidationParts.Length });
                return true;
            }), true);
            AllSame(seen, new ulong[] { 5, 5, 1, 3 });
            model.Save(folder + "m");
            Model again = Model.Load(folder + "m");
            Func<Model, string> Stage1 = of => Regex.Match(of.Info(), "\"stage1\":.*?\"stage2\"").Value;
            Same(Stage1(again).Length > 40, true);
            Same(Stage1(again), Stage1(model));
            AllSame(again.Options.GeneratorHiddenDims, new uint[] { 8 });
            Same(again.Options.SummaryDim, 8u);
        });
        Refused(Status.Io, "none", () => Model.Load("none"));
        // Sizes are the model's, whatever becomes of a copy.
        ModelOptions copy = model.Options;
        (copy.SummaryDim, copy.MaxSeqLen, copy.GeneratorHiddenDims) = (1, 1, new uint[] { 1 });
        AllSame(new[] { model.Options.SummaryDim, model.Options.MaxSeqLen, model.Options.GeneratorHiddenDims[0] }, new uint[] { 8, Steps, 8 });
        Same(model.Encode(new[] { Arc(1) })[0].Length, 8);
        Refused(Status.Argument, "CriticHiddenDims", () => model.Options.CriticHiddenDims = new uint[] { 0 });
    }

    private static void Sampling()
    {
        foreach (Decoder decoder in new[] { Decoder.ClosedLoop, Decoder.V6 })
        {
            Model model = Trained(decoder);
            double[] conditions = { 100, 110, 120, 130, 140 };
            Point[][] made = model.Generate(5, conditions, new SampleOptions { Seed = 3 });
            Same(made.All(m => m.Length >= 2 && m.Length <= Steps && m[0].Equals(default(Point))), true);
            AllSame(new[] { model.Generate(2).Length, model.Generate(0).Length }, new[] { 2, 0 });
            Features features = model.GenerateFeatures(5, conditions, new SampleOptions { Seed = 3 });
            AllSame(new[] { features.Values.Length, features.Steps, features.Dim }, new[] { 5 * Steps * 8, Steps, 8 });
            AllSame(features.Lengths, made.Select(m => (uint)m.Length));
            AllSame(model.Generate(1, new double[] { 140 }, new SampleOptions { Seed = 3, First = 4 })[0], made[4]);
            Refused(Status.Argument, "conditions has 1, expected 5", () => model.Generate(5, new double[] { 100 }));
            Refused(Status.Argument, "-1", () => model.Generate(-1));
            // Longer than any model makes: nothing of the kind is allocated.
            foreach (ulong steps in new[] { Steps + 1ul, 1ul << 30, 1ul << 62 })
            {
                var options = new SampleOptions { SeqLen = steps };
                Refused(Status.Argument, $"seq_len is {steps}", () => model.Generate(5, conditions, options));
                Refused(Status.Argument, $"seq_len is {steps}", () => model.GenerateFeatures(5, conditions, options));
            }
            float[][] z = model.Encode(made);
            AllSame(new[] { z.Length, z[0].Length }, new[] { 5, 8 });
            float[][] way = model.Interpolate(z[0], z[1], 4);
            AllSame(way[0].Concat(way[3]), z[0].Concat(z[1]));
            Refused(Status.Argument, "to has 3, expected 8", () => model.Interpolate(z[0], new float[3], 4));
            var lengths = new uint[] { 5, 9 };
            if (decoder == Decoder.V6)
            {
                AllSame(model.Decode(z.Take(2).ToArray(), lengths).Select(m => (uint)m.Length), lengths);
                Features decoded = model.DecodeFeatures(z.Take(2).ToArray(), lengths);
                AllSame(new[] { decoded.Values.Length, decoded.Steps, decoded.Dim }, new[] { 2 * Steps * 8, Steps, 8 });
                Same(decoded.Values[5 * 8], 0f);
                var last = new Features { Steps = Steps, Values = features.Values.Skip(4 * Steps * 8).ToArray(), Lengths = new[] { features.Lengths[4] } };
                AllSame(model.EncodeFeatures(last)[0], model.EncodeFeatures(features)[4]);
                decoded.Steps--;
                Refused(Status.Argument, "features has 384, expected 368", () => model.EncodeFeatures(decoded));
            }
            else
                Refused(Status.State, "", () => model.Decode(z.Take(2).ToArray(), lengths));
            Refused(Status.Argument, "", () => model.Evaluate(Arcs(60))); // too few to test with
        }
    }

    private static void Evaluation()
    {
        Model model = Trained(Decoder.ClosedLoop, 240);
        InFolder(folder =>
        {
            string report = model.Evaluate(Arcs(240), new EvaluateOptions { Quick = 1 }, folder + "page.html");
            AllSame(new[] { report.Contains("forest_auc"), File.Exists(folder + "page.html") }, new[] { true, true });
        });
    }

    private static void PathsAndStreams()
    {
        foreach (Decoder decoder in new[] { Decoder.ClosedLoop, Decoder.V6 })
        {
            Model model = Trained(decoder);
            var options = new PathOptions { Seed = 5, IntegerPixels = 0 };
            Place from = new Place(10.5, 20), to = new Place(200, -30.25);
            Path path = model.Path(from, to, options);
            Point last = path.Points.Last();
            Same(path.Points[0], new Point(10.5, 20, 0));
            AllSame(new[] { last.X, last.Y }, new[] { 200, -30.25 });
            Same(model.Path(default(Place), new Place(3000, 0)).Flags, PathFlag.Scaled);
            Same(path.Flags, default(PathFlag));
            Same(model.Paths(new Ends[0]).Length, 0);
            Stream stream = model.Stream(from, to, options);
            model.Dispose(); // it has what it needs
            GC.Collect();
            var points = new List<Point>();
            while (stream.Next(out Point point)) points.Add(point);
            AllSame(points, path.Points);
            Refused(Status.State, "ended", () => stream.Aim(from));
            stream.At(0, out bool ended); // Next has said so
            Same(ended, true);
        }
        Model walker = Trained(Decoder.ClosedLoop);
        using (Stream stream = walker.Stream(new Place(10, 20), new Place(200, -30)))
        {
            Same(stream.Next(new Point[3]), 3);
            stream.Aim(new Place(90, 40));
            Point point = stream.At(1e7, out bool ended);
            AllSame(new[] { point.X, point.Y }, new double[] { 90, 40 });
            Same(ended, true);
        }
        Path polled = walker.Path(default(Place), new Place(150, 60), new PathOptions { PollingHz = 1000, MinDurationMs = 900 });
        Same(polled.Points.Length >= 900, true);
    }

    // Eight threads on one model, while the collector runs.
    private static void Shared()
    {
        Model model = Trained(Decoder.ClosedLoop);
        Point[][] expected = model.Generate(20);
        Exception failed = null;
        Thread[] threads = Enumerable.Range(0, 8).Select(_ => new Thread(() =>
        {
            try
            {
                for (int i = 0; i < 5; i++)
                {
                    AllSame(model.Generate(20).SelectMany(m => m), expected.SelectMany(m => m));
                    Refused(Status.Argument, "", () => model.Path(default(Place), default(Place)));
                    GC.Collect();
                }
            }
            catch (Exception error)
            {
                failed = error;
            }
        })).ToArray();
        foreach (Thread thread in threads) thread.Start();
        foreach (Thread thread in threads) thread.Join();
        if (failed != null) throw failed;
    }
}
