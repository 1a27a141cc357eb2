// The enums and structs of trajgan.h, field by field; it says what each means. Options are made with their defaults; then
// change what you want: new PathOptions { PollingHz = 125 }.
using System;
using System.Runtime.InteropServices;

namespace Trajgan
{
    public enum Status
    {
        Ok, Argument, Version, State, Buffer, Io, Format, Device, Memory, Diverged, Cancelled, Internal,
    }

    /// <summary>n &gt;= 0, cast: CUDA device n.</summary>
    public enum Device { Auto = -2, Cpu = -1 }

    public enum Stage { Autoencoder = 1, Gan = 2 }

    public enum Preset { Default, Fast, Large, Recommended }

    public enum Decoder { ClosedLoop, V6 }

    public enum Condition { Straight, Path }

    public enum Pool { Attention, Mean, Last, Hybrid }

    public enum Expand { Lstm, Mlp, Repeat }

    public enum Generator { Residual, Plain, Film }

    public enum Critic { Standard, Projection, Multiscale }

    public enum Optimizer { Adam, AdamW, RAdam }

    public enum Schedule { None, Cosine, Step, Plateau, OneCycle }

    [Flags]
    public enum PathFlag { Scaled = 1, Forced = 2 }

    /// <summary>A pointer event: pixels rightwards and downwards, milliseconds.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct Point
    {
        public double X, Y, TMs;

        public Point(double x, double y, double tMs)
        {
            X = x;
            Y = y;
            TMs = tMs;
        }

        public override string ToString() => $"({X}, {Y}) at {TMs} ms";
    }

    /// <summary>How recordings are read: tg_read_options.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public sealed class ReadOptions
    {
        private uint structSize;
        public uint CsvSeconds;
        public ulong MaxBytes;
        public uint MinPoints, MaxPoints;
        public double PauseMs, MaxCoordinate, MinDistance;
        public double MinDurationMs, MaxDurationMs, MaxPathRatio, MaxSpeed, MaxStepShare, MaxEndSpeed;

        public ReadOptions() => Native.Check(Native.tg_read_options_init(this, Native.SizeOf<ReadOptions>()));
    }

    /// <summary>What a model is: tg_model_options.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public sealed class ModelOptions
    {
        private uint structSize;
        public Preset Preset;
        public ulong Seed;
        public uint ConditionDim, FeatureDim, MaxSeqLen, LatentDim, SummaryDim, NoiseDim;
        public uint EncoderHiddenDim, EncoderNumLayers, DecoderHiddenDim, DecoderNumLayers;
        public uint ExpanderHiddenDim, ExpanderNumLayers;
        public Pool Pool;
        public Expand Expand;
        public Generator Generator;
        public Critic Critic;
        [MarshalAs(UnmanagedType.ByValArray, SizeConst = Native.MaxLayers)]
        private uint[] generatorHiddenDims;
        [MarshalAs(UnmanagedType.ByValArray, SizeConst = Native.MaxLayers)]
        private uint[] criticHiddenDims;
        public Decoder Decoder;
        public Condition Condition;
        public uint StepMagnitudes, TickClasses, CriticSpectralNorm, CriticScales;
        public double LstmDropout, PoolerDropout, ExpanderDropout;
        public ulong StepProfiles;

        public ModelOptions(Preset preset = Preset.Default, Decoder decoder = Decoder.ClosedLoop)
        {
            Native.Check(Native.tg_model_options_init(this, Native.SizeOf<ModelOptions>(), (int)preset, (int)decoder));
        }

        internal ModelOptions(ModelHandle model)
        {
            Native.Check(Native.tg_model_options_get(model, this, Native.SizeOf<ModelOptions>()));
        }

        internal ModelOptions Copy()
        {
            var copy = (ModelOptions)MemberwiseClone();
            copy.generatorHiddenDims = (uint[])generatorHiddenDims.Clone();
            copy.criticHiddenDims = (uint[])criticHiddenDims.Clone();
            return copy;
        }

        /// <summary>Widths of the layers, up to 16 of them.</summary>
        public uint[] GeneratorHiddenDims
        {
            get => Layers(generatorHiddenDims);
            set => generatorHiddenDims = List(nameof(GeneratorHiddenDims), value);
        }

        /// <summary>Widths of the layers, up to 16 of them.</summary>
        public uint[] CriticHiddenDims
        {
            get => Layers(criticHiddenDims);
            set => criticHiddenDims = List(nameof(CriticHiddenDims), value);
        }

        // 0 ends the list.
        private static uint[] Layers(uint[] list)
        {
            int end = Array.IndexOf(list, 0u);
            var layers = new uint[end < 0 ? list.Length : end];
            Array.Copy(list, layers, layers.Length);
            return layers;
        }

        private static uint[] List(string name, uint[] layers)
        {
            if (layers == null) throw new ArgumentNullException(name);
            if (layers.Length > Native.MaxLayers || Array.IndexOf(layers, 0u) >= 0)
                throw new TrajganException(Status.Argument, $"{name}: expected up to {Native.MaxLayers} widths of 1 or more");
            var list = new uint[Native.MaxLayers];
            layers.CopyTo(list, 0);
            return list;
        }
    }

    /// <summary>Where training is: tg_progress.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct Progress
    {
        private uint structSize;
        public Stage Stage;
        public ulong Iteration, Iterations;
        public uint Converged, Validated;
        public double Loss, Direct, Recon, Latent;
        public double StepNats, TickNats, StopNats;
        public double Critic, Wasserstein, GradientPenalty;
        public double ValidationLoss;
        [MarshalAs(UnmanagedType.ByValArray, SizeConst = 3)]
        public double[] ValidationParts;
        public double LearningRate, Seconds, IterationsPerSecond;
    }

    /// <summary>How one stage is trained: tg_train_options. See <see cref="Model.TrainOptions"/>.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public sealed class TrainOptions
    {
        private uint structSize;
        public uint Threads;
        public ulong Seed, Iterations;
        public uint BatchSize, NCritic;
        public double LearningRate, CriticLearningRate, GradClip, WeightDecay;
        public Optimizer Optimizer;
        public Schedule Schedule;
        public ulong CosinePeriod, StepSize;
        public double StepGamma;
        public ulong PlateauPatience;
        public double PlateauFactor, Threshold;
        public ulong Patience;
        public double LambdaRecon, LambdaLatent, LambdaDirect, LambdaGp, LambdaFm, Beta1, Beta2;
        public double GeneratorAverage, SummaryNoise;
        public uint AugmentMirror, QualityMinLength;
        public double AugmentNoise, QualityZ;
        public ulong LogInterval, EvalInterval, SaveInterval;
        internal IntPtr checkpointPath, onProgress, userData; // set by Train, in a copy
        public double AugmentTurn;
        public ulong Candidates;
        public double AugmentMirrorShare;

        internal TrainOptions(Stage stage, ModelHandle model)
        {
            Native.Check(Native.tg_train_options_init(this, Native.SizeOf<TrainOptions>(), (int)stage, model));
        }

        internal TrainOptions Copy() => (TrainOptions)MemberwiseClone();
    }

    /// <summary>How movements are drawn: tg_sample_options.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public sealed class SampleOptions
    {
        private uint structSize;
        public uint Threads;
        public ulong Seed, First, SeqLen;
        public double TruncationPsi, StepTemperature, TimeTemperature;
        public uint AllowTf32, Candidates;
        public ulong AllowAmx;

        public SampleOptions() => Native.Check(Native.tg_sample_options_init(this, Native.SizeOf<SampleOptions>()));
    }

    /// <summary>How paths are drawn: tg_path_options.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public sealed class PathOptions
    {
        private uint structSize;
        public uint Threads;
        public ulong Seed, First, Candidates;
        public uint IntegerPixels, Bounded;
        public double Left, Top, Right, Bottom;
        public double DurationScale, PollingHz, MinDurationMs, MaxDurationMs;
        public double StepTemperature, TimeTemperature;

        public PathOptions() => Native.Check(Native.tg_path_options_init(this, Native.SizeOf<PathOptions>()));
    }

    /// <summary>How hard to look: tg_evaluate_options.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public sealed class EvaluateOptions
    {
        private uint structSize;
        public uint Threads;
        public ulong Seed, Quick;

        public EvaluateOptions() => Native.Check(Native.tg_evaluate_options_init(this, Native.SizeOf<EvaluateOptions>()));
    }
}
