// Against the real library: with the header in CGO_CFLAGS=-I and the library in CGO_LDFLAGS=-L and LD_LIBRARY_PATH, go test
package trajgan

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
)

const steps = 24

func tiny(t *testing.T, decoder Decoder) ModelOptions {
	o, err := DefaultModelOptions(PresetDefault, decoder)
	if err != nil {
		t.Fatal(err)
	}
	o.MaxSeqLen, o.LatentDim, o.SummaryDim, o.NoiseDim = steps, 8, 8, 8
	o.EncoderHiddenDim, o.DecoderHiddenDim, o.ExpanderHiddenDim, o.Seed = 8, 8, 8, 1
	o.GeneratorHiddenDims, o.CriticHiddenDims = [MaxLayers]uint32{8}, [MaxLayers]uint32{8}
	return o
}

func arc(i int) []Point {
	points := make([]Point, 12+i%12)
	for k := range points {
		s := float64(k) / float64(len(points)-1)
		far := (100 + 10*float64(i%17)) * s * s * (3 - 2*s)
		angle := 0.3 * float64(i)
		points[k] = Point{50 + far*math.Cos(angle), 80 + far*math.Sin(angle), 1000 + float64(8*k+k*i%3)}
	}
	return points
}

func arcs(t *testing.T, count int) *Dataset {
	data, err := NewDataset(1)
	for i := 0; i < count && err == nil; i++ {
		err = data.Push(arc(i), nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// train has settings for both stages that take no time.
func train(t *testing.T, m *Model, data *Dataset, stage Stage, change func(*TrainOptions)) error {
	o, err := m.TrainOptions(stage)
	if err != nil {
		t.Fatal(err)
	}
	o.Iterations, o.BatchSize, o.NCritic, o.Threads = 2, 8, 1, 1
	if change != nil {
		change(&o)
	}
	return m.Train(data, stage, &o)
}

func trained(t *testing.T, decoder Decoder, movements int) *Model {
	o := tiny(t, decoder)
	m, err := NewModel(&o, DeviceCPU)
	if err != nil {
		t.Fatal(err)
	}
	data := arcs(t, movements)
	defer data.Close()
	for _, stage := range []Stage{StageAutoencoder, StageGAN} {
		if err := train(t, m, data, stage, nil); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func refused(t *testing.T, err error, status Status, words string) {
	t.Helper()
	if !errors.Is(err, &Error{Status: status}) || !strings.Contains(err.Error(), words) {
		t.Errorf("%v, expected %v with %q", err, status, words)
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func same(t *testing.T, got, want interface{}) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%v, expected %v", got, want)
	}
}

// The structs of trajgan.h are those of options.go, field by field.
func TestHeader(t *testing.T) {
	header, err := os.ReadFile("../../include/trajgan.h")
	ok(t, err)
	text := regexp.MustCompile(`//[^\n]*|(?s:/\*.*?\*/)`).ReplaceAllString(string(header), "")
	kinds := map[reflect.Kind]string{reflect.Uint32: "uint32_t", reflect.Int32: "int32_t", reflect.Uint64: "uint64_t",
		reflect.Float64: "double", reflect.Uintptr: "pointer"}
	known := map[string]interface{}{"tg_point": Point{}, "tg_read_options": ReadOptions{}, "tg_model_options": ModelOptions{},
		"tg_progress": Progress{}, "tg_train_options": TrainSettings{}, "tg_sample_options": SampleOptions{},
		"tg_path_options": PathOptions{}, "tg_evaluate_options": EvaluateOptions{}}
	field := regexp.MustCompile(`(?m)^\s*([\w ]+?[ *]+)(\w+)(?:\[(\w+)\])?;`)
	for _, found := range regexp.MustCompile(`(?s)typedef struct \{(.*?)\} (\w+);`).FindAllStringSubmatch(text, -1) {
		ours := reflect.TypeOf(known[found[2]])
		delete(known, found[2])
		theirs := field.FindAllStringSubmatch(found[1], -1)
		if ours == nil || ours.NumField() != len(theirs) {
			t.Fatalf("%s has %d fields, ours is %v", found[2], len(theirs), ours)
		}
		for i, f := range theirs {
			kind, ours := strings.TrimSpace(f[1]), ours.Field(i)
			if strings.HasSuffix(kind, "*") || kind == "tg_progress_fn" {
				kind = "pointer"
			}
			of, count := ours.Type, ""
			if of.Kind() == reflect.Array {
				count, of = strings.Replace(fmt.Sprint(of.Len()), fmt.Sprint(MaxLayers), "TG_MAX_LAYERS", 1), of.Elem()
			}
			name := strings.ReplaceAll(f[2], "_", "")
			if !strings.EqualFold(name, ours.Name) || kinds[of.Kind()] != kind || count != f[3] {
				t.Errorf("%s: %v, ours is %s %v", found[2], f[0], ours.Name, ours.Type)
			}
		}
	}
	if len(known) != 0 {
		t.Errorf("not in the header: %v", known)
	}
}

func TestDevicesAndNames(t *testing.T) {
	ok(t, CheckDevice(DeviceCPU))
	refused(t, CheckDevice(-7), ErrArgument, "-7")
	same(t, ErrDiverged.String(), "TG_ERR_DIVERGED")
	_, err := DefaultModelOptions(99, DecoderV6)
	refused(t, err, ErrArgument, "99")
}

func TestData(t *testing.T) {
	data := arcs(t, 60)
	info, err := data.Info()
	ok(t, err)
	var told struct{ Movements int }
	ok(t, json.Unmarshal([]byte(info), &told))
	same(t, []int{data.Len(), told.Movements, data.ConditionDim()}, []int{60, 60, 1})
	refused(t, data.Push(arc(1)[:2], nil), ErrArgument, "")
	refused(t, data.Push(arc(1), []float64{1, 2}), ErrArgument, "len(condition) is 2, expected 1")
	refused(t, data.Push(nil, nil), ErrArgument, "")
	own, err := NewDataset(2)
	ok(t, err)
	ok(t, own.Push(arc(1), []float64{120, 7}))
	_, err = NewDataset(-1)
	refused(t, err, ErrArgument, "-1")
	_, err = OpenDataset("nowhere", nil)
	refused(t, err, ErrIO, "nowhere")
	_, err = OpenDataset("a\x00b", nil)
	refused(t, err, ErrArgument, "null")
	_, err = OpenDataset("", nil)
	refused(t, err, ErrArgument, "path")
	path := filepath.Join(t.TempDir(), "größe.json")
	ok(t, os.WriteFile(path, []byte(`{"x":[0,5,30,60],"y":[0,1,2,3],"t":[0,8,16,24]}`), 0o600))
	options := DefaultReadOptions()
	options.CsvSeconds = 1
	read, err := OpenDataset(path, &options)
	ok(t, err)
	same(t, read.Len(), 1)
	data.Close()
	data.Close()
	_, err = data.Info()
	refused(t, err, ErrArgument, "data is NULL")
}

func TestTraining(t *testing.T) {
	data, o := arcs(t, 60), tiny(t, DecoderClosedLoop)
	m, err := NewModel(&o, DeviceCPU)
	ok(t, err)
	refused(t, m.Train(data, StageGAN, nil), ErrState, "")
	refused(t, train(t, m, data, StageAutoencoder, func(o *TrainOptions) { o.LearningRate = -1 }), ErrArgument, "is -1")
	_, err = m.TrainOptions(7)
	refused(t, err, ErrArgument, "7")
	folder := t.TempDir()
	saved := filepath.Join(folder, "checkpoint.safetensors")
	refused(t, train(t, m, data, StageAutoencoder, func(o *TrainOptions) {
		o.Iterations, o.SaveInterval, o.CheckpointPath = 4, 1, saved
		o.OnProgress = func(p Progress) bool { return p.Iteration < 2 }
	}), ErrCancelled, "")
	if _, err := os.Stat(saved); err != nil {
		t.Error(err)
	}
	// What does not return leaves the model as it was after the last iteration, free for other calls.
	for name, leave := range map[string]func(){"mine": func() { panic("mine") }, "nil": func() { panic(nil) }, "exit": runtime.Goexit} {
		asked, returned, caught, gone := 0, false, interface{}(nil), make(chan bool)
		go func() {
			defer close(gone)
			defer func() { caught = recover() }()
			_ = train(t, m, data, StageAutoencoder, func(o *TrainOptions) {
				o.Iterations, o.OnProgress = 20, func(Progress) bool { asked++; leave(); return true }
			})
			returned = true
		}()
		<-gone
		same(t, []interface{}{name, asked, returned, caught == "mine"}, []interface{}{name, 1, false, name == "mine"})
		ok(t, m.Save(filepath.Join(folder, name)))
	}
	var seen []uint64
	ok(t, train(t, m, data, StageAutoencoder, func(o *TrainOptions) {
		o.Iterations = 6
		o.OnProgress = func(p Progress) bool {
			refused(t, m.Save(filepath.Join(folder, "busy")), ErrState, "")
			seen = append(seen, p.Iteration, p.Iterations, uint64(p.Stage))
			return true
		}
	}))
	same(t, seen, []uint64{6, 6, 1})
	path := filepath.Join(folder, "m.safetensors")
	ok(t, m.Save(path))
	again, err := LoadModel(path, DeviceAuto)
	ok(t, err)
	one, err := m.Info()
	ok(t, err)
	two, err := again.Info()
	ok(t, err)
	stage := func(info string) interface{} {
		var told map[string]interface{}
		ok(t, json.Unmarshal([]byte(info), &told))
		return told["stage1"]
	}
	same(t, stage(two), stage(one))
	same(t, again.Options(), m.Options())
	same(t, again.Options().GeneratorHiddenDims, [MaxLayers]uint32{8})
	_, err = LoadModel(filepath.Join(folder, "none"), DeviceCPU)
	refused(t, err, ErrIO, "none")
}

func TestSampling(t *testing.T) {
	for _, decoder := range []Decoder{DecoderClosedLoop, DecoderV6} {
		m := trained(t, decoder, 60)
		options := DefaultSampleOptions()
		options.Seed = 3
		conditions := []float64{100, 110, 120, 130, 140}
		made, err := m.Generate(5, conditions, &options)
		ok(t, err)
		for _, movement := range made {
			if len(movement) < 2 || len(movement) > steps || movement[0] != (Point{}) {
				t.Error(movement)
			}
		}
		some, err := m.Generate(2, nil, nil)
		ok(t, err)
		none, err := m.Generate(0, nil, nil)
		ok(t, err)
		same(t, []int{len(some), len(none)}, []int{2, 0})
		features, err := m.GenerateFeatures(5, conditions, &options)
		ok(t, err)
		same(t, []int{len(features.Values), features.Steps, features.Dim}, []int{5 * steps * 8, steps, 8})
		for i, n := range features.Lengths {
			same(t, int(n), len(made[i]))
		}
		options.First = 4
		last, err := m.Generate(1, conditions[4:], &options)
		ok(t, err)
		same(t, last[0], made[4])
		_, err = m.Generate(5, conditions[:1], nil)
		refused(t, err, ErrArgument, "len(conditions) is 1, expected 5")
		for _, count := range []int{-1, 1 << 60} {
			_, err = m.Generate(count, nil, nil)
			refused(t, err, ErrArgument, fmt.Sprint(count))
			_, err = m.GenerateFeatures(count, nil, nil)
			refused(t, err, ErrArgument, fmt.Sprint(count))
		}
		// Longer than any model makes: nothing of the kind is allocated.
		for _, long := range []uint64{steps + 1, 1 << 34, 1 << 62} {
			options := DefaultSampleOptions()
			options.SeqLen = long
			_, err = m.Generate(5, conditions, &options)
			refused(t, err, ErrArgument, fmt.Sprintf("seq_len is %d", long))
			_, err = m.GenerateFeatures(5, conditions, &options)
			refused(t, err, ErrArgument, fmt.Sprintf("seq_len is %d", long))
		}
		z, err := m.Encode(made, 1)
		ok(t, err)
		same(t, []int{len(z), len(z[0])}, []int{5, 8})
		way, err := m.Interpolate(z[0], z[1], 4)
		ok(t, err)
		same(t, [][]float32{way[0], way[3]}, z[:2])
		_, err = m.Interpolate(z[0], z[1][:3], 4)
		refused(t, err, ErrArgument, "len(to) is 3, expected 8")
		decoded, err := m.Decode(z[:2], []uint32{5, 9}, 1)
		features, again := m.DecodeFeatures(z[:2], []uint32{5, 9}, 1)
		if decoder == DecoderV6 {
			ok(t, err)
			same(t, []int{len(decoded[0]), len(decoded[1])}, []int{5, 9})
			ok(t, again)
			same(t, []int{features.Steps, features.Dim, len(features.Values)}, []int{steps, 8, 2 * steps * 8})
			same(t, features.Values[5*8], float32(0))
			z, err = m.EncodeFeatures(features, 1)
			ok(t, err)
			same(t, []int{len(z), len(z[0])}, []int{2, 8})
			features.Steps--
			_, err = m.EncodeFeatures(features, 1)
			refused(t, err, ErrArgument, "len(f.Values) is 384, expected 368")
		} else {
			refused(t, again, ErrState, "")
			refused(t, err, ErrState, "")
		}
		_, err = m.Evaluate(arcs(t, 60), nil, "")
		refused(t, err, ErrArgument, "") // too few to test with
	}
}

func TestEvaluation(t *testing.T) {
	m, data := trained(t, DecoderClosedLoop, 240), arcs(t, 240)
	options, page := DefaultEvaluateOptions(), filepath.Join(t.TempDir(), "report.html")
	options.Quick = 1
	text, err := m.Evaluate(data, &options, page)
	ok(t, err)
	var report struct{ Scores []struct{ Name string } }
	ok(t, json.Unmarshal([]byte(text), &report))
	if _, err := os.Stat(page); err != nil || len(report.Scores) == 0 {
		t.Error(err, report)
	}
}

func TestPathsAndStreams(t *testing.T) {
	for _, decoder := range []Decoder{DecoderClosedLoop, DecoderV6} {
		m := trained(t, decoder, 60)
		options := DefaultPathOptions()
		options.Seed, options.IntegerPixels = 5, 0
		from, to := Place{10.5, 20}, Place{200, -30.25}
		path, err := m.Path(from, to, &options)
		ok(t, err)
		last := path.Points[len(path.Points)-1]
		same(t, []float64{path.Points[0].X, path.Points[0].Y, path.Points[0].TMs, last.X, last.Y}, []float64{10.5, 20, 0, 200, -30.25})
		far, err := m.Path(Place{}, Place{3000, 0}, nil)
		ok(t, err)
		same(t, []bool{far.Scaled, path.Scaled, path.Forced}, []bool{true, false, false})
		none, err := m.Paths(nil, nil)
		ok(t, err)
		same(t, len(none), 0)
		stream, err := m.Stream(from, to, &options)
		ok(t, err)
		m.Close() // it has what it needs
		runtime.GC()
		var points []Point
		for part := make([]Point, 5); ; {
			n, err := stream.Next(part)
			ok(t, err)
			points = append(points, part[:n]...)
			if n < len(part) {
				break
			}
		}
		same(t, points, path.Points)
		refused(t, stream.Aim(Place{}), ErrState, "ended")
		_, ended, err := stream.At(0) // Next has said so
		ok(t, err)
		same(t, ended, true)
		stream.Close()
	}
	m := trained(t, DecoderClosedLoop, 60)
	stream, err := m.Stream(Place{10, 20}, Place{200, -30}, nil)
	ok(t, err)
	ok(t, stream.Aim(Place{90, 40}))
	point, ended, err := stream.At(1e7)
	ok(t, err)
	same(t, []float64{point.X, point.Y}, []float64{90, 40})
	same(t, ended, true)
	options := DefaultPathOptions()
	options.PollingHz, options.MinDurationMs = 1000, 900
	polled, err := m.Path(Place{}, Place{150, 60}, &options)
	ok(t, err)
	if len(polled.Points) < 900 {
		t.Error(len(polled.Points))
	}
}

// Eight goroutines on one model, while the collector runs.
func TestShared(t *testing.T) {
	m := trained(t, DecoderClosedLoop, 60)
	want, err := m.Generate(20, nil, nil)
	ok(t, err)
	var all sync.WaitGroup
	for k := 0; k < 8; k++ {
		all.Add(1)
		go func() {
			defer all.Done()
			for i := 0; i < 5; i++ {
				got, err := m.Generate(20, nil, nil)
				if err != nil || !reflect.DeepEqual(got, want) {
					t.Error(err)
				}
				_, err = m.Path(Place{}, Place{}, nil)
				refused(t, err, ErrArgument, "")
				runtime.GC()
			}
		}()
	}
	all.Wait()
}
