// Arrays and their sizes.
using System;

namespace Trajgan
{
    internal static class Rows
    {
        public static UIntPtr Size(int count) => (UIntPtr)(uint)count;

        public static uint Count(string name, int count)
        {
            if (count < 0) throw new TrajganException(Status.Argument, $"{name} is {count}, expected 0 or more");
            return (uint)count;
        }

        public static void Expect(string name, int length, int expected)
        {
            if (length != expected) throw new TrajganException(Status.Argument, $"{name} has {length}, expected {expected}");
        }

        public static T[] Room<T>(string name, int count, int each)
        {
            ulong size = (ulong)Count(name, count) * (ulong)each;
            if (size > int.MaxValue) throw new TrajganException(Status.Argument, $"{name} is {count}: too much for an array");
            return new T[size];
        }

        public static float[][] Of(float[] flat, int width)
        {
            var rows = new float[flat.Length / width][];
            for (int i = 0; i < rows.Length; i++)
            {
                rows[i] = new float[width];
                Array.Copy(flat, i * width, rows[i], 0, width);
            }
            return rows;
        }

        public static Point[][] Of(Point[] points, int stride, uint[] lengths)
        {
            var rows = new Point[lengths.Length][];
            for (int i = 0; i < rows.Length; i++)
            {
                rows[i] = new Point[lengths[i]];
                Array.Copy(points, i * stride, rows[i], 0, rows[i].Length);
            }
            return rows;
        }
    }
}
