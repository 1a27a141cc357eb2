// Package trajgan learns pointer movements from recordings and makes new ones: a thin layer over libtrajgan.
//
//	data, err := trajgan.OpenDataset("recordings/", nil)
//	model, err := trajgan.NewModel(nil, trajgan.DeviceAuto)
//	err = model.Train(data, trajgan.StageAutoencoder, nil)
//	err = model.Train(data, trajgan.StageGAN, nil)
//	path, err := model.Path(trajgan.Place{100, 100}, trajgan.Place{900, 500}, nil)
//
// trajgan.h has the meaning of every call and option; here is only what Go adds. A nil for options means their
// defaults. A call that fails gives an *[Error] and has changed nothing. Sampling, Save, Info, Options and Evaluate may
// run on one model in many goroutines at once; Train, Close and all of a Stream may not. What is closed, or not reached
// any more, is freed; calls on what is closed give ErrArgument.
package trajgan

/*
#cgo LDFLAGS: -ltrajgan
#include <stdlib.h>
#include <trajgan.h>

extern int32_t trajganProgress(tg_progress *, void *);

// The handle of a Go value is a number, which must not be taken for a pointer.
static void trajgan_watch(tg_train_options *options, uintptr_t handle) {
    options->on_progress = (tg_progress_fn)trajganProgress;
    options->user_data = (void *)handle;
}
*/
import "C"

import (
	"fmt"
	"runtime"
	"runtime/cgo"
	"strings"
	"unsafe"
)

// Error is what a call that failed said.
type Error struct {
	Status  Status
	Message string
}

func (e *Error) Error() string { return e.Message }

// Is tells errors apart by their status: errors.Is(err, &trajgan.Error{Status: trajgan.ErrCancelled}).
func (e *Error) Is(target error) bool {
	other, ok := target.(*Error)
	return ok && other.Status == e.Status && (other.Message == "" || other.Message == e.Message)
}

func (s Status) String() string { return C.GoString(C.tg_status_name(C.int32_t(s))) }

// call makes a call and asks what went wrong on the same thread.
func call(f func() C.tg_status) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if status := Status(f()); status != OK {
		return &Error{status, C.GoString(C.tg_last_error())}
	}
	return nil
}

// must is for calls that cannot fail with a library that fits.
func must(f func() C.tg_status) {
	if err := call(f); err != nil {
		panic(err)
	}
}

func init() {
	if abi := C.tg_abi_version(); abi != C.TG_ABI_VERSION {
		panic(fmt.Sprintf("libtrajgan %s has ABI %d, expected %d", Version(), abi, C.TG_ABI_VERSION))
	}
}

// Version of the library.
func Version() string { return C.GoString(C.tg_version()) }

// CheckDevice says why a model cannot be made on a device.
func CheckDevice(device Device) error {
	return call(func() C.tg_status { return C.tg_device_check(C.int32_t(device)) })
}

// withPath makes a path one of C's for as long as f runs; "" is NULL.
func withPath(path string, f func(*C.char) error) error {
	if strings.IndexByte(path, 0) >= 0 {
		return &Error{ErrArgument, fmt.Sprintf("a path with a null character: %q", path)}
	}
	if path == "" {
		return f(nil)
	}
	text := C.CString(path)
	defer C.free(unsafe.Pointer(text))
	return f(text)
}

// text of a call that tells what room it needs.
func text(guess int, f func(*C.char, C.size_t, *C.size_t) C.tg_status) (string, error) {
	for {
		room, needed := make([]byte, guess), C.size_t(0)
		err := call(func() C.tg_status { return f((*C.char)(unsafe.Pointer(&room[0])), C.size_t(guess), &needed) })
		if failed, ok := err.(*Error); ok && failed.Status == ErrBuffer && int(needed) > guess {
			guess = int(needed)
			continue
		}
		if err != nil {
			return "", err
		}
		return string(room[:needed-1]), nil
	}
}

func points(p []Point) *C.tg_point {
	if len(p) == 0 {
		return nil
	}
	return (*C.tg_point)(unsafe.Pointer(&p[0]))
}

func doubles(x []float64) *C.double {
	if len(x) == 0 {
		return nil
	}
	return (*C.double)(unsafe.Pointer(&x[0]))
}

func floats(x []float32) *C.float {
	if len(x) == 0 {
		return nil
	}
	return (*C.float)(unsafe.Pointer(&x[0]))
}

func counts(n []uint32) *C.uint32_t {
	if len(n) == 0 {
		return nil
	}
	return (*C.uint32_t)(unsafe.Pointer(&n[0]))
}

func rows(p []Point, stride int, lengths []uint32) [][]Point {
	out := make([][]Point, len(lengths))
	for i, n := range lengths {
		out[i] = p[i*stride : i*stride+int(n) : i*stride+int(n)]
	}
	return out
}

func expected(name string, got, want int) error {
	if got == want {
		return nil
	}
	return &Error{ErrArgument, fmt.Sprintf("len(%s) is %d, expected %d", name, got, want)}
}

// Dataset is recorded movements to learn from.
type Dataset struct{ handle *C.tg_dataset }

func ownDataset(handle *C.tg_dataset) *Dataset {
	d := &Dataset{handle}
	runtime.SetFinalizer(d, (*Dataset).Close)
	return d
}

// NewDataset makes an empty one, to push movements to.
func NewDataset(conditionDim int) (*Dataset, error) {
	if conditionDim < 0 || int64(conditionDim) > 1<<32-1 {
		return nil, &Error{ErrArgument, fmt.Sprintf("conditionDim is %d, expected 1 or more", conditionDim)}
	}
	var handle *C.tg_dataset
	if err := call(func() C.tg_status { return C.tg_dataset_new(C.uint32_t(conditionDim), &handle) }); err != nil {
		return nil, err
	}
	return ownDataset(handle), nil
}

// OpenDataset reads a file or folder of recordings, or a folder of arrays.
func OpenDataset(path string, options *ReadOptions) (*Dataset, error) {
	var handle *C.tg_dataset
	err := withPath(path, func(path *C.char) error {
		read := (*C.tg_read_options)(unsafe.Pointer(options))
		return call(func() C.tg_status { return C.tg_dataset_open(path, read, &handle) })
	})
	if err != nil {
		return nil, err
	}
	return ownDataset(handle), nil
}

// Push adds one movement. condition is nil, or ConditionDim numbers.
func (d *Dataset) Push(movement []Point, condition []float64) error {
	defer runtime.KeepAlive(d)
	if condition != nil {
		if err := expected("condition", len(condition), d.ConditionDim()); err != nil {
			return err
		}
	}
	return call(func() C.tg_status {
		return C.tg_dataset_push(d.handle, points(movement), C.size_t(len(movement)), doubles(condition))
	})
}

// Len is the number of movements.
func (d *Dataset) Len() int {
	defer runtime.KeepAlive(d)
	return int(C.tg_dataset_len(d.handle))
}

// ConditionDim is how many numbers the condition of each movement has.
func (d *Dataset) ConditionDim() int {
	defer runtime.KeepAlive(d)
	return int(C.tg_dataset_condition_dim(d.handle))
}

// Info is what is in the set, as JSON.
func (d *Dataset) Info() (string, error) {
	defer runtime.KeepAlive(d)
	return text(4096, func(to *C.char, room C.size_t, needed *C.size_t) C.tg_status {
		return C.tg_dataset_info(d.handle, to, room, needed)
	})
}

// Close frees it.
func (d *Dataset) Close() {
	C.tg_dataset_free(d.handle)
	d.handle = nil
	runtime.SetFinalizer(d, nil)
}

// Model is a model, trained or not.
type Model struct {
	handle  *C.tg_model
	options ModelOptions
}

func ownModel(handle *C.tg_model) (*Model, error) {
	m := &Model{handle: handle}
	runtime.SetFinalizer(m, (*Model).Close)
	err := call(func() C.tg_status {
		return C.tg_model_options_get(handle, (*C.tg_model_options)(unsafe.Pointer(&m.options)), C.sizeof_tg_model_options)
	})
	if err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

// NewModel makes a model with initial weights.
func NewModel(options *ModelOptions, device Device) (*Model, error) {
	var handle *C.tg_model
	err := call(func() C.tg_status {
		return C.tg_model_new((*C.tg_model_options)(unsafe.Pointer(options)), C.int32_t(device), &handle)
	})
	if err != nil {
		return nil, err
	}
	return ownModel(handle)
}

// LoadModel reads what [Model.Save] has written.
func LoadModel(path string, device Device) (*Model, error) {
	var handle *C.tg_model
	err := withPath(path, func(path *C.char) error {
		return call(func() C.tg_status { return C.tg_model_load(path, C.int32_t(device), &handle) })
	})
	if err != nil {
		return nil, err
	}
	return ownModel(handle)
}

// Save writes the model with all that training needs to go on, whole or not at all.
func (m *Model) Save(path string) error {
	defer runtime.KeepAlive(m)
	return withPath(path, func(path *C.char) error {
		return call(func() C.tg_status { return C.tg_model_save(m.handle, path) })
	})
}

// Options are what the model is: its sizes.
func (m *Model) Options() ModelOptions { return m.options }

// Info is all there is to know about the model, as JSON.
func (m *Model) Info() (string, error) {
	defer runtime.KeepAlive(m)
	return text(16384, func(to *C.char, room C.size_t, needed *C.size_t) C.tg_status {
		return C.tg_model_info(m.handle, to, room, needed)
	})
}

// Close frees it. Calls that are running are waited for by its memory, not by Close; training stops.
func (m *Model) Close() {
	C.tg_model_free(m.handle)
	m.handle = nil
	runtime.SetFinalizer(m, nil)
}

// TrainOptions gives the settings that the model would be trained with.
func (m *Model) TrainOptions(stage Stage) (TrainOptions, error) {
	defer runtime.KeepAlive(m)
	var o TrainOptions
	err := call(func() C.tg_status {
		to := (*C.tg_train_options)(unsafe.Pointer(&o.TrainSettings))
		return C.tg_train_options_init(to, C.sizeof_tg_train_options, C.int32_t(stage), m.handle)
	})
	return o, err
}

// watcher is what the library hands to the callback: how it asks the goroutine that called Train, and what that says.
type watcher struct {
	asks chan Progress
	more chan bool
}

//export trajganProgress
func trajganProgress(progress *C.tg_progress, data unsafe.Pointer) C.int32_t {
	w := cgo.Handle(uintptr(data)).Value().(*watcher)
	w.asks <- *(*Progress)(unsafe.Pointer(progress))
	if <-w.more {
		return 0
	}
	return 1
}

// watch runs a training on a goroutine of its own and tell on this one: what tell panics with, and runtime.Goexit, unwind
// none of the library's frames, whose locks would stay held. The training has ended when watch is left, in any way.
func (w *watcher) watch(train func() error, tell func(Progress) bool) error {
	ended, telling := make(chan error), false
	go func() { ended <- train() }()
	defer func() {
		if telling {
			w.more <- false
			<-ended
		}
	}()
	for {
		select {
		case progress := <-w.asks:
			telling = true
			more := tell(progress)
			telling = false
			w.more <- more
		case err := <-ended:
			return err
		}
	}
}

// Train trains one stage, or goes on with it.
func (m *Model) Train(data *Dataset, stage Stage, options *TrainOptions) error {
	defer runtime.KeepAlive(m)
	defer runtime.KeepAlive(data)
	if options == nil {
		settings, err := m.TrainOptions(stage)
		if err != nil {
			return err
		}
		options = &settings
	}
	settings, tell, w := options.TrainSettings, options.OnProgress, &watcher{make(chan Progress), make(chan bool)}
	model, from := m.handle, data.handle
	return withPath(options.CheckpointPath, func(path *C.char) error {
		to := (*C.tg_train_options)(unsafe.Pointer(&settings))
		to.checkpoint_path = path
		if tell != nil {
			handle := cgo.NewHandle(w)
			defer handle.Delete()
			C.trajgan_watch(to, C.uintptr_t(handle))
		}
		return w.watch(func() error {
			return call(func() C.tg_status { return C.tg_train_stage(model, from, C.int32_t(stage), to) })
		}, tell)
	})
}

// steps is room for each movement: longer ones are refused by the library.
func (m *Model) steps(options *SampleOptions) int {
	most := uint64(m.options.MaxSeqLen)
	if options != nil && options.SeqLen != 0 && options.SeqLen < most {
		most = options.SeqLen
	}
	return int(most)
}

func (m *Model) checkConditions(conditions []float64, count int) error {
	if conditions == nil {
		return nil
	}
	return expected("conditions", len(conditions), count*int(m.options.ConditionDim))
}

// Generate draws count movements. conditions: nil for those of the training data, or count x ConditionDim numbers.
func (m *Model) Generate(count int, conditions []float64, options *SampleOptions) ([][]Point, error) {
	defer runtime.KeepAlive(m)
	if err := m.checkConditions(conditions, count); err != nil {
		return nil, err
	}
	stride := m.steps(options)
	out, lengths, err := room(count, stride)
	if err != nil {
		return nil, err
	}
	err = call(func() C.tg_status {
		sample := (*C.tg_sample_options)(unsafe.Pointer(options))
		return C.tg_generate(m.handle, doubles(conditions), C.size_t(count), sample, points(out), C.size_t(stride), counts(lengths))
	})
	if err != nil {
		return nil, err
	}
	return rows(out, stride, lengths), nil
}

// product is the size of count rows, if it is one that memory can have.
func product(count, each int) (int, error) {
	if count < 0 || each < 0 || each > 0 && count > (1<<40)/each {
		return 0, &Error{ErrArgument, fmt.Sprintf("count is %d, of %d each", count, each)}
	}
	return count * each, nil
}

// room for count rows of points, and their lengths.
func room(count, stride int) ([]Point, []uint32, error) {
	size, err := product(count, stride)
	if err != nil {
		return nil, nil, err
	}
	return make([]Point, size), make([]uint32, count), nil
}

// Features are movements as the model's numbers: movement i is Steps x Dim of Values from i * Steps * Dim on.
type Features struct {
	Values     []float32
	Steps, Dim int
	Lengths    []uint32
}

// GenerateFeatures draws the same movements as the model's own numbers in [-1,1].
func (m *Model) GenerateFeatures(count int, conditions []float64, options *SampleOptions) (Features, error) {
	defer runtime.KeepAlive(m)
	if err := m.checkConditions(conditions, count); err != nil {
		return Features{}, err
	}
	f := Features{Steps: m.steps(options), Dim: int(m.options.FeatureDim)}
	size, err := product(count, f.Steps*f.Dim)
	if err != nil {
		return Features{}, err
	}
	f.Values, f.Lengths = make([]float32, size), make([]uint32, count)
	err = call(func() C.tg_status {
		sample := (*C.tg_sample_options)(unsafe.Pointer(options))
		return C.tg_generate_features(m.handle, doubles(conditions), C.size_t(count), sample, floats(f.Values),
			C.size_t(len(f.Values)), counts(f.Lengths))
	})
	if err != nil {
		return Features{}, err
	}
	return f, nil
}

// Encode gives the summaries of movements, SummaryDim numbers each. threads: 0 is one per core.
func (m *Model) Encode(movements [][]Point, threads uint32) ([][]float32, error) {
	defer runtime.KeepAlive(m)
	stride := 0
	lengths := make([]uint32, len(movements))
	for i, movement := range movements {
		lengths[i] = uint32(len(movement))
		if len(movement) > stride {
			stride = len(movement)
		}
	}
	in, _, err := room(len(movements), stride)
	if err != nil {
		return nil, err
	}
	for i, movement := range movements {
		copy(in[i*stride:], movement)
	}
	dim := int(m.options.SummaryDim)
	out := make([]float32, len(movements)*dim)
	err = call(func() C.tg_status {
		return C.tg_encode(m.handle, points(in), C.size_t(stride), counts(lengths), C.size_t(len(movements)),
			C.uint32_t(threads), floats(out), C.size_t(len(out)))
	})
	if err != nil {
		return nil, err
	}
	return summaries(out, dim), nil
}

func summaries(flat []float32, dim int) [][]float32 {
	out := make([][]float32, 0, len(flat)/dim)
	for ; len(flat) > 0; flat = flat[dim:] {
		out = append(out, flat[:dim:dim])
	}
	return out
}

// Decode gives movements of the given lengths for summaries. V6 only.
func (m *Model) Decode(summaries [][]float32, lengths []uint32, threads uint32) ([][]Point, error) {
	defer runtime.KeepAlive(m)
	flat, err := m.toDecode(summaries, lengths)
	if err != nil {
		return nil, err
	}
	stride := int(m.options.MaxSeqLen)
	out := make([]Point, len(lengths)*stride)
	err = call(func() C.tg_status {
		return C.tg_decode(m.handle, floats(flat), counts(lengths), C.size_t(len(lengths)), C.uint32_t(threads), points(out),
			C.size_t(stride))
	})
	if err != nil {
		return nil, err
	}
	return rows(out, stride, lengths), nil
}

func (m *Model) toDecode(summaries [][]float32, lengths []uint32) ([]float32, error) {
	if err := expected("lengths", len(lengths), len(summaries)); err != nil {
		return nil, err
	}
	var flat []float32
	for i, summary := range summaries {
		if err := expected(fmt.Sprintf("summaries[%d]", i), len(summary), int(m.options.SummaryDim)); err != nil {
			return nil, err
		}
		flat = append(flat, summary...)
	}
	return flat, nil
}

// EncodeFeatures gives the summaries of movements as the model's own numbers. V6 only.
func (m *Model) EncodeFeatures(f Features, threads uint32) ([][]float32, error) {
	defer runtime.KeepAlive(m)
	dim := int(m.options.FeatureDim)
	if err := expected("f.Values", len(f.Values), len(f.Lengths)*f.Steps*dim); err != nil {
		return nil, err
	}
	out := make([]float32, len(f.Lengths)*int(m.options.SummaryDim))
	err := call(func() C.tg_status {
		return C.tg_encode_features(m.handle, floats(f.Values), C.size_t(f.Steps), counts(f.Lengths),
			C.size_t(len(f.Lengths)), C.uint32_t(threads), floats(out), C.size_t(len(out)))
	})
	if err != nil {
		return nil, err
	}
	return summaries(out, int(m.options.SummaryDim)), nil
}

// DecodeFeatures gives the same movements as Decode, as the model's own numbers in [-1,1]. V6 only.
func (m *Model) DecodeFeatures(summaries [][]float32, lengths []uint32, threads uint32) (Features, error) {
	defer runtime.KeepAlive(m)
	flat, err := m.toDecode(summaries, lengths)
	if err != nil {
		return Features{}, err
	}
	f := Features{Steps: int(m.options.MaxSeqLen), Dim: int(m.options.FeatureDim), Lengths: append([]uint32(nil), lengths...)}
	f.Values = make([]float32, len(lengths)*f.Steps*f.Dim)
	err = call(func() C.tg_status {
		return C.tg_decode_features(m.handle, floats(flat), counts(lengths), C.size_t(len(lengths)), C.uint32_t(threads),
			floats(f.Values), C.size_t(f.Steps))
	})
	if err != nil {
		return Features{}, err
	}
	return f, nil
}

// Interpolate gives summaries on the way from one to another, both included.
func (m *Model) Interpolate(from, to []float32, steps int) ([][]float32, error) {
	defer runtime.KeepAlive(m)
	dim := int(m.options.SummaryDim)
	for name, summary := range map[string][]float32{"from": from, "to": to} {
		if err := expected(name, len(summary), dim); err != nil {
			return nil, err
		}
	}
	if steps < 2 || steps > (1<<40)/dim {
		return nil, &Error{ErrArgument, fmt.Sprintf("steps is %d, expected 2 or more", steps)}
	}
	out := make([]float32, steps*dim)
	err := call(func() C.tg_status {
		return C.tg_interpolate(m.handle, floats(from), floats(to), C.size_t(steps), floats(out), C.size_t(len(out)))
	})
	if err != nil {
		return nil, err
	}
	return summaries(out, dim), nil
}

// Place is a place on the screen, in pixels.
type Place struct{ X, Y float64 }

// Ends of a path.
type Ends struct{ From, To Place }

// Path from one place to another.
type Path struct {
	Points []Point
	// Scaled: the distance is not among those that the model has learnt.
	Scaled bool
	// Forced: bent to stay in bounds, or stretched to keep to a duration.
	Forced bool
}

// Path draws one path.
func (m *Model) Path(from, to Place, options *PathOptions) (Path, error) {
	paths, err := m.Paths([]Ends{{from, to}}, options)
	if err != nil {
		return Path{}, err
	}
	return paths[0], nil
}

// Paths draws one path for each pair of ends.
func (m *Model) Paths(ends []Ends, options *PathOptions) ([]Path, error) {
	defer runtime.KeepAlive(m)
	var from *C.double
	if len(ends) > 0 {
		from = (*C.double)(unsafe.Pointer(&ends[0]))
	}
	flags := make([]uint32, len(ends))
	stride := int(m.options.MaxSeqLen)
	for {
		out, lengths, err := room(len(ends), stride)
		if err != nil {
			return nil, err
		}
		err = call(func() C.tg_status {
			path := (*C.tg_path_options)(unsafe.Pointer(options))
			return C.tg_paths(m.handle, from, C.size_t(len(ends)), path, points(out), C.size_t(stride), counts(lengths),
				counts(flags))
		})
		// Polled: the lengths tell what it takes.
		longest := 0
		for _, n := range lengths {
			if int(n) > longest {
				longest = int(n)
			}
		}
		if failed, ok := err.(*Error); ok && failed.Status == ErrBuffer && longest > stride {
			stride = longest
			continue
		}
		if err != nil {
			return nil, err
		}
		paths := make([]Path, len(ends))
		for i, row := range rows(out, stride, lengths) {
			paths[i] = Path{row, flags[i]&pathScaled != 0, flags[i]&pathForced != 0}
		}
		return paths, nil
	}
}

// Stream is a path under way. It keeps what it needs of its model.
type Stream struct{ handle *C.tg_stream }

// Stream begins the path that [Model.Path] draws, point by point.
func (m *Model) Stream(from, to Place, options *PathOptions) (*Stream, error) {
	defer runtime.KeepAlive(m)
	var handle *C.tg_stream
	err := call(func() C.tg_status {
		path := (*C.tg_path_options)(unsafe.Pointer(options))
		return C.tg_stream_new(m.handle, C.double(from.X), C.double(from.Y), C.double(to.X), C.double(to.Y), path, &handle)
	})
	if err != nil {
		return nil, err
	}
	s := &Stream{handle}
	runtime.SetFinalizer(s, (*Stream).Close)
	return s, nil
}

// Next fills to with the next points and says how many came: fewer than len(to): the path has ended.
func (s *Stream) Next(to []Point) (int, error) {
	defer runtime.KeepAlive(s)
	var written C.size_t
	err := call(func() C.tg_status { return C.tg_stream_next(s.handle, points(to), C.size_t(len(to)), &written) })
	return int(written), err
}

// Aim gives the rest of the way another end.
func (s *Stream) Aim(to Place) error {
	defer runtime.KeepAlive(s)
	return call(func() C.tg_status { return C.tg_stream_aim(s.handle, C.double(to.X), C.double(to.Y)) })
}

// At is where the pointer is at a time, and whether the path has ended: that time is behind its last point, or Next has
// said so.
func (s *Stream) At(tMs float64) (Point, bool, error) {
	defer runtime.KeepAlive(s)
	var point Point
	var ended C.uint32_t
	err := call(func() C.tg_status {
		return C.tg_stream_at(s.handle, C.double(tMs), (*C.tg_point)(unsafe.Pointer(&point)), &ended)
	})
	return point, ended != 0, err
}

// Close frees it.
func (s *Stream) Close() {
	C.tg_stream_free(s.handle)
	s.handle = nil
	runtime.SetFinalizer(s, nil)
}

// Evaluate judges the model on the test split of data: a report as JSON and, unless html is "", also a page there.
func (m *Model) Evaluate(data *Dataset, options *EvaluateOptions, html string) (string, error) {
	defer runtime.KeepAlive(m)
	defer runtime.KeepAlive(data)
	var report string
	err := withPath(html, func(page *C.char) (err error) {
		report, err = text(262144, func(to *C.char, room C.size_t, needed *C.size_t) C.tg_status {
			judge := (*C.tg_evaluate_options)(unsafe.Pointer(options))
			return C.tg_evaluate(m.handle, data.handle, judge, page, to, room, needed)
		})
		return err
	})
	return report, err
}
