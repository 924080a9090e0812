/** [B] cosines of the rows of two [B, dims] matrices; NaN where sizes differ or a row is zero. */
export function rowCosines(ours: Float32Array, theirs: Float32Array, dims: number): number[] {
  return Array.from({ length: ours.length / dims }, (_, row) => {
    let dot = 0;
    let ourSquares = 0;
    let theirSquares = 0;
    for (let i = row * dims; i < (row + 1) * dims; i++) {
      const [a, b] = [ours[i]!, theirs[i] ?? Number.NaN];
      dot += a * b;
      ourSquares += a * a;
      theirSquares += b * b;
    }
    return dot / Math.sqrt(ourSquares * theirSquares);
  });
}
