package trajgan

/*
#include <trajgan.h>
*/
import "C"

import "unsafe"

// MaxLayers is the most layers in the lists of widths.
const MaxLayers = C.TG_MAX_LAYERS

// Status is what a call says.
type Status int32

const (
	OK           Status = C.TG_OK
	ErrArgument  Status = C.TG_ERR_ARGUMENT
	ErrVersion   Status = C.TG_ERR_VERSION
	ErrState     Status = C.TG_ERR_STATE
	ErrBuffer    Status = C.TG_ERR_BUFFER
	ErrIO        Status = C.TG_ERR_IO
	ErrFormat    Status = C.TG_ERR_FORMAT
	ErrDevice    Status = C.TG_ERR_DEVICE
	ErrMemory    Status = C.TG_ERR_MEMORY
	ErrDiverged  Status = C.TG_ERR_DIVERGED
	ErrCancelled Status = C.TG_ERR_CANCELLED
	ErrInternal  Status = C.TG_ERR_INTERNAL
)

// Device is where a model computes. n >= 0 is CUDA device n.
type Device int32

const (
	DeviceAuto Device = C.TG_DEVICE_AUTO
	DeviceCPU  Device = C.TG_DEVICE_CPU
)

// Stage is one of the two stages of training.
type Stage int32

const (
	StageAutoencoder Stage = C.TG_STAGE_AUTOENCODER
	StageGAN         Stage = C.TG_STAGE_GAN
)

// Preset is a set of sizes and settings.
type Preset int32

const (
	PresetDefault     Preset = C.TG_PRESET_DEFAULT
	PresetFast        Preset = C.TG_PRESET_FAST
	PresetLarge       Preset = C.TG_PRESET_LARGE
	PresetRecommended Preset = C.TG_PRESET_RECOMMENDED
)

// Decoder is how a summary becomes a movement.
type Decoder int32

const (
	DecoderClosedLoop Decoder = C.TG_DECODER_CLOSED_LOOP
	DecoderV6         Decoder = C.TG_DECODER_V6
)

// Condition is what stands for the condition of a movement that has none of its own.
type Condition int32

const (
	ConditionStraight Condition = C.TG_CONDITION_STRAIGHT
	ConditionPath     Condition = C.TG_CONDITION_PATH
)

// Pool is how a latent sequence becomes one summary.
type Pool int32

const (
	PoolAttention Pool = C.TG_POOL_ATTENTION
	PoolMean      Pool = C.TG_POOL_MEAN
	PoolLast      Pool = C.TG_POOL_LAST
	PoolHybrid    Pool = C.TG_POOL_HYBRID
)

// Expand is how a summary becomes a latent sequence again.
type Expand int32

const (
	ExpandLSTM   Expand = C.TG_EXPAND_LSTM
	ExpandMLP    Expand = C.TG_EXPAND_MLP
	ExpandRepeat Expand = C.TG_EXPAND_REPEAT
)

// Generator is a kind of generator.
type Generator int32

const (
	GeneratorResidual Generator = C.TG_GENERATOR_RESIDUAL
	GeneratorPlain    Generator = C.TG_GENERATOR_PLAIN
	GeneratorFilm     Generator = C.TG_GENERATOR_FILM
)

// Critic is a kind of critic.
type Critic int32

const (
	CriticStandard   Critic = C.TG_CRITIC_STANDARD
	CriticProjection Critic = C.TG_CRITIC_PROJECTION
	CriticMultiscale Critic = C.TG_CRITIC_MULTISCALE
)

// Optimizer is that of stage 1.
type Optimizer int32

const (
	OptimizerAdam  Optimizer = C.TG_OPTIMIZER_ADAM
	OptimizerAdamW Optimizer = C.TG_OPTIMIZER_ADAMW
	OptimizerRAdam Optimizer = C.TG_OPTIMIZER_RADAM
)

// Schedule is the learning rate of stage 1 over time.
type Schedule int32

const (
	ScheduleNone     Schedule = C.TG_SCHEDULE_NONE
	ScheduleCosine   Schedule = C.TG_SCHEDULE_COSINE
	ScheduleStep     Schedule = C.TG_SCHEDULE_STEP
	SchedulePlateau  Schedule = C.TG_SCHEDULE_PLATEAU
	ScheduleOneCycle Schedule = C.TG_SCHEDULE_ONECYCLE
)

// The bits of how a path came about.
const (
	pathScaled = C.TG_PATH_SCALED
	pathForced = C.TG_PATH_FORCED
)

// Point is a pointer event: pixels rightwards and downwards, milliseconds.
type Point struct {
	X, Y, TMs float64
}

// The structs below are those of trajgan.h, field by field, which says what each field means. Only the functions that
// give the defaults make one that works: each knows its own size.

// ReadOptions is tg_read_options: how recordings are read. See [DefaultReadOptions].
type ReadOptions struct {
	structSize                                           uint32
	CsvSeconds                                           uint32
	MaxBytes                                             uint64
	MinPoints, MaxPoints                                 uint32
	PauseMs, MaxCoordinate, MinDistance                  float64
	MinDurationMs, MaxDurationMs, MaxPathRatio, MaxSpeed float64
	MaxStepShare, MaxEndSpeed                            float64
}

// ModelOptions is tg_model_options: what a model is. See [DefaultModelOptions].
type ModelOptions struct {
	structSize                                  uint32
	Preset                                      Preset
	Seed                                        uint64
	ConditionDim, FeatureDim, MaxSeqLen         uint32
	LatentDim, SummaryDim, NoiseDim             uint32
	EncoderHiddenDim, EncoderNumLayers          uint32
	DecoderHiddenDim, DecoderNumLayers          uint32
	ExpanderHiddenDim, ExpanderNumLayers        uint32
	Pool                                        Pool
	Expand                                      Expand
	Generator                                   Generator
	Critic                                      Critic
	GeneratorHiddenDims, CriticHiddenDims       [MaxLayers]uint32
	Decoder                                     Decoder
	Condition                                   Condition
	StepMagnitudes, TickClasses                 uint32
	CriticSpectralNorm, CriticScales            uint32
	LstmDropout, PoolerDropout, ExpanderDropout float64
	StepProfiles                                uint64
}

// Progress is tg_progress: where training is.
type Progress struct {
	structSize                                 uint32
	Stage                                      Stage
	Iteration, Iterations                      uint64
	Converged, Validated                       uint32
	Loss, Direct, Recon, Latent                float64
	StepNats, TickNats, StopNats               float64
	Critic, Wasserstein, GradientPenalty       float64
	ValidationLoss                             float64
	ValidationParts                            [3]float64
	LearningRate, Seconds, IterationsPerSecond float64
}

// TrainSettings is tg_train_options.
type TrainSettings struct {
	structSize                              uint32
	Threads                                 uint32
	Seed, Iterations                        uint64
	BatchSize, NCritic                      uint32
	LearningRate, CriticLearningRate        float64
	GradClip, WeightDecay                   float64
	Optimizer                               Optimizer
	Schedule                                Schedule
	CosinePeriod, StepSize                  uint64
	StepGamma                               float64
	PlateauPatience                         uint64
	PlateauFactor, Threshold                float64
	Patience                                uint64
	LambdaRecon, LambdaLatent, LambdaDirect float64
	LambdaGp, LambdaFm, Beta1, Beta2        float64
	GeneratorAverage, SummaryNoise          float64
	AugmentMirror, QualityMinLength         uint32
	AugmentNoise, QualityZ                  float64
	LogInterval, EvalInterval, SaveInterval uint64
	checkpointPath, onProgress, userData    uintptr // of TrainOptions
	AugmentTurn                             float64
	Candidates                              uint64
	AugmentMirrorShare                      float64
}

// TrainOptions is how one stage is trained. See [Model.TrainOptions].
type TrainOptions struct {
	TrainSettings
	// CheckpointPath is where checkpoints go; "": nowhere.
	CheckpointPath string
	// OnProgress, if not nil, is called after every iteration, on the goroutine that called Train; the library runs on another
	// meanwhile. False stops the training, with ErrCancelled. So do a panic and runtime.Goexit, which t.Fatal is: they go on
	// through Train when the training has ended.
	OnProgress func(Progress) bool
}

// SampleOptions is tg_sample_options: how movements are drawn. See [DefaultSampleOptions].
type SampleOptions struct {
	structSize                                      uint32
	Threads                                         uint32
	Seed, First, SeqLen                             uint64
	TruncationPsi, StepTemperature, TimeTemperature float64
	AllowTf32, Candidates                           uint32
	AllowAmx                                        uint64
}

// PathOptions is tg_path_options: how paths are drawn. See [DefaultPathOptions].
type PathOptions struct {
	structSize                       uint32
	Threads                          uint32
	Seed, First, Candidates          uint64
	IntegerPixels, Bounded           uint32
	Left, Top, Right, Bottom         float64
	DurationScale, PollingHz         float64
	MinDurationMs, MaxDurationMs     float64
	StepTemperature, TimeTemperature float64
}

// EvaluateOptions is tg_evaluate_options: how hard to look. See [DefaultEvaluateOptions].
type EvaluateOptions struct {
	structSize  uint32
	Threads     uint32
	Seed, Quick uint64
}

// An index that is not 0, because two sizes differ, does not compile.
var (
	_ = [1]int{}[unsafe.Sizeof(Point{})-uintptr(C.sizeof_tg_point)]
	_ = [1]int{}[unsafe.Sizeof(ReadOptions{})-uintptr(C.sizeof_tg_read_options)]
	_ = [1]int{}[unsafe.Sizeof(ModelOptions{})-uintptr(C.sizeof_tg_model_options)]
	_ = [1]int{}[unsafe.Sizeof(Progress{})-uintptr(C.sizeof_tg_progress)]
	_ = [1]int{}[unsafe.Sizeof(TrainSettings{})-uintptr(C.sizeof_tg_train_options)]
	_ = [1]int{}[unsafe.Sizeof(SampleOptions{})-uintptr(C.sizeof_tg_sample_options)]
	_ = [1]int{}[unsafe.Sizeof(PathOptions{})-uintptr(C.sizeof_tg_path_options)]
	_ = [1]int{}[unsafe.Sizeof(EvaluateOptions{})-uintptr(C.sizeof_tg_evaluate_options)]
)

// DefaultReadOptions gives the defaults.
func DefaultReadOptions() ReadOptions {
	var o ReadOptions
	must(func() C.tg_status {
		return C.tg_read_options_init((*C.tg_read_options)(unsafe.Pointer(&o)), C.sizeof_tg_read_options)
	})
	return o
}

// DefaultModelOptions gives a preset for a decoder.
func DefaultModelOptions(preset Preset, decoder Decoder) (ModelOptions, error) {
	var o ModelOptions
	err := call(func() C.tg_status {
		to := (*C.tg_model_options)(unsafe.Pointer(&o))
		return C.tg_model_options_init(to, C.sizeof_tg_model_options, C.int32_t(preset), C.int32_t(decoder))
	})
	return o, err
}

// DefaultSampleOptions gives the defaults.
func DefaultSampleOptions() SampleOptions {
	var o SampleOptions
	must(func() C.tg_status {
		return C.tg_sample_options_init((*C.tg_sample_options)(unsafe.Pointer(&o)), C.sizeof_tg_sample_options)
	})
	return o
}

// DefaultPathOptions gives the defaults.
func DefaultPathOptions() PathOptions {
	var o PathOptions
	must(func() C.tg_status {
		return C.tg_path_options_init((*C.tg_path_options)(unsafe.Pointer(&o)), C.sizeof_tg_path_options)
	})
	return o
}

// DefaultEvaluateOptions gives the defaults.
func DefaultEvaluateOptions() EvaluateOptions {
	var o EvaluateOptions
	must(func() C.tg_status {
		return C.tg_evaluate_options_init((*C.tg_evaluate_options)(unsafe.Pointer(&o)), C.sizeof_tg_evaluate_options)
	})
	return o
}
